"""Faults that tests outside this folder hold already, on real servers too; the matrix refers to them instead of repeating them.

Values only: of what is broken, what happens to it, and the test, as pytest names it.
"""

from __future__ import annotations

from typing import NamedTuple


class Elsewhere(NamedTuple):
    of: str
    fault: str
    test: str


ELSEWHERE = (
    Elsewhere(
        "cratedb",
        "No room for another column (`mapping.total_fields.limit`): the table is parked, unparked, nothing lost.",
        "tests/integration/test_schema_changes.py::test_crates_own_limit_of_columns_parks_the_table_with_a_sentence",
    ),
    Elsewhere(
        "cratedb",
        "One table of three is read-only for a minute under load: the others keep their pace.",
        "tests/integration/test_read_only_minute.py::test_a_table_that_is_read_only_for_a_minute_leaves_the_others_their_pace",
    ),
    Elsewhere(
        "cratedb",
        "A table is made again with other types: what fits it now is stored, what is under way is mapped again.",
        "tests/integration/test_schema_changes.py::test_a_table_that_is_made_again_with_other_types_takes_what_fits_it_now",
    ),
    Elsewhere(
        "cratedb",
        "No privilege on a table: it is parked, no other stops, nothing lost.",
        "tests/integration/test_wrong_deployments.py::test_a_table_that_may_only_be_read_loses_nothing",
    ),
    Elsewhere(
        "cratedb",
        "A request whose answer was lost still runs: what is sent again waits for its end.",
        "tests/integration/test_crate_store.py::test_a_running_request_is_recognised_by_its_tag_and_held_back_for",
    ),
    Elsewhere(
        "kafka",
        "A topic is deleted and made again under a running worker: it is parked, a higher `epoch` brings all of it.",
        "tests/integration/test_sources_that_went_back.py::test_a_topic_that_is_made_anew_under_a_running_worker_is_parked_and_healed_alike",
    ),
    Elsewhere(
        "kafka",
        "The source was restored from a backup and its positions went back: parked, a higher `epoch` brings what it said since.",
        "tests/integration/test_sources_that_went_back.py::test_a_source_that_was_restored_is_parked_and_a_higher_epoch_brings_what_it_said_since",
    ),
    Elsewhere(
        "kafka",
        "Partitions are added to a topic whose versions are offsets: parked, a higher `epoch` brings them.",
        "tests/integration/test_sources_that_went_back.py::test_partitions_that_were_added_are_parked_where_versions_are_offsets_and_a_higher_epoch_brings_them",
    ),
    Elsewhere(
        "kafka",
        "The commit lies beyond the end of a log that was lost and written anew: parked, `INGEST_ON_GAP=continue` begins anew.",
        "tests/integration/test_sources_that_went_back.py::test_a_commit_beyond_the_end_is_parked_and_continue_begins_anew_and_commits_it",
    ),
    Elsewhere(
        "kafka",
        "Hostile records (deep nesting, huge keys, 10,000 fields, SQL in names): neighbours are stored, memory stays bounded.",
        "tests/integration/test_bad_neighbours.py::test_the_good_rows_beside_them_are_stored",
    ),
    Elsewhere(
        "worker",
        "One of two processes of `INGEST_WORKERS=2` is killed: it is started again, nothing is lost.",
        "tests/integration/test_workers.py::test_a_killed_worker_is_started_again_and_nothing_is_lost",
    ),
    Elsewhere(
        "registry",
        "The registry is away at first, answers later.",
        "tests/integration/test_avro.py::test_a_registry_that_comes_late_is_waited_for",
    ),
    Elsewhere(
        "registry",
        "The registry never answers: the run that should catch up names it at its end.",
        "tests/integration/test_avro.py::test_a_registry_that_never_comes_is_named_at_the_end",
    ),
    Elsewhere(
        "registry",
        "The registry refuses our credentials.",
        "tests/integration/test_avro.py::test_a_registry_that_refuses_us_ends_the_worker_with_one_sentence",
    ),
    Elsewhere(
        "registry",
        "A replica of the registry learns a schema late.",
        "tests/integration/test_registry_kinds.py::test_a_schema_that_a_replica_learns_late_costs_no_letter",
    ),
    Elsewhere(
        "registry",
        "The registry does not know a schema: its records are dead letters, no others.",
        "tests/integration/test_registry_kinds.py::test_an_unknown_schema_costs_its_records_and_no_others",
    ),
    Elsewhere(
        "registry",
        "The registry's certificate, or ours, does not fit.",
        "tests/integration/test_tls.py::test_a_registry_that_does_not_fit_is_told_in_a_sentence",
    ),
)
