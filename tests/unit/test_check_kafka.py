"""The part of `check` that judges what was seen of Kafka: one case per thing that can be wrong, and its remedy."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from kafka.errors import CoordinatorLoadInProgressError, CoordinatorNotAvailableError

from ingest.kafka import preflight
from ingest.kafka.preflight import GroupSeen, LettersSeen, Seen, TopicSeen
from ingest.settings import Settings
from ingest.tools import check_kafka
from ingest.tools.findings import Finding

DAY_MS = 86_400_000
WEEK = {"cleanup.policy": "delete", "retention.ms": str(7 * DAY_MS), "max.message.bytes": "1048588"}
TOPIC = TopicSeen("orders", 2, config=WEEK, begins={0: 0, 1: 0}, ends={0: 100, 1: 50}, commits={0: 90, 1: 50})


def settings(**changes: str) -> Settings:
    return Settings.load({f"INGEST_{name.upper()}": value for name, value in {"topics": "orders", **changes}.items()})


def config(**changes: object) -> dict[str, str]:
    return WEEK | {name.replace("_", "."): str(value) for name, value in changes.items()}


def odd(found: Iterable[Finding]) -> list[tuple[str, str]]:
    return [(each.state.value, each.text) for each in found if each.state.value != "ok"]


def the_odd(found: Iterable[Finding]) -> tuple[str, str]:
    (one,) = odd(found)
    return one


# ---------------------------------------------------------------- broker and names


def test_all_is_well() -> None:
    seen = Seen(
        version=(4, 1),
        brokers=3,
        topics={"orders": TOPIC},
        existing=frozenset({"orders", "ingest.dlq"}),
        group=GroupSeen("Stable", "cooperative-sticky", 2, None),
        letters=LettersSeen(TopicSeen("ingest.dlq", 1, config=WEEK), exists=True),
    )
    found = list(check_kafka.of_kafka(settings(), seen))
    assert [] == odd(found)
    assert ["kafka", "codecs", "topic orders", "group", "progress", "dead letters"] == [each.what for each in found]
    assert "10 records behind (orders 10)" in [each.text for each in found]
    assert "2 partitions, keeps records for 7 days" in [each.text for each in found]


def test_an_old_broker_fails() -> None:
    assert "FAIL" == the_odd(check_kafka.of_broker(settings(), Seen(version=(1, 1))))[0]


def test_a_broker_that_has_no_coordinator_yet_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(preflight, "sleep", slept.append)
    refusals = [CoordinatorNotAvailableError(), CoordinatorLoadInProgressError()]

    def ask() -> str:
        if refusals:
            raise refusals.pop()
        return "told"

    seen = Seen()
    assert "told" == seen.ask("what group g has read", ask)
    assert ([], 2) == (seen.untold, len(slept))


def test_a_broker_that_never_has_a_coordinator_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "COORDINATOR_S", 0.0)
    monkeypatch.setattr(preflight, "sleep", lambda _: None)

    def ask() -> None:
        raise CoordinatorNotAvailableError

    seen = Seen()
    assert seen.ask("what group g has read", ask) is None
    assert ["what group g has read (CoordinatorNotAvailableError)"] == seen.untold


def test_a_missing_codec_fails_with_what_to_install() -> None:
    assert ("FAIL", "lz4 is not installed, so some batches could not be read: install it") == the_odd(
        check_kafka.of_codecs(["lz4"])
    )


@pytest.mark.parametrize(("has_pattern", "state"), [(False, "FAIL"), (True, "WARN")])
def test_a_missing_topic_is_told_with_the_nearest_name(has_pattern: bool, state: str) -> None:
    seen = Seen(missing=("ordres",), existing=frozenset({"orders", "x"}), has_pattern=has_pattern)
    found_state, text = the_odd(check_kafka.of_names(settings(), seen))
    assert state == found_state
    assert "the nearest name is orders" in text


def test_a_pattern_without_topics_is_a_warning() -> None:
    found = check_kafka.of_names(settings(topics="^shop"), Seen(existing=frozenset({"orders", "shop.heartbeat"})))
    assert ("WARN", "^shop matches no topic yet: correct INGEST_TOPICS, or wait until one is created") == the_odd(found)


def test_a_topic_that_we_may_not_see_fails() -> None:
    seen = Seen(existing=frozenset({"orders", "items"}), topics={"items": TOPIC})
    assert "grant our Kafka user READ" in the_odd(check_kafka.of_names(settings(topics="orders,items"), seen))[1]


def test_what_the_broker_does_not_tell_is_no_failure_and_what_it_forbids_is_one() -> None:
    seen = Seen(version=(4, 1), untold=["the settings of topics (X)"], refused=["group g (Y)"])
    assert ["FAIL", "?"] == [state for state, _ in odd(check_kafka.of_kafka(settings(), seen))]


# ---------------------------------------------------------------- topics


@pytest.mark.parametrize(
    ("topic", "state", "words"),
    [
        (TOPIC._replace(leaderless=1), "FAIL", "without a leader"),
        (TOPIC._replace(operations=frozenset({"DESCRIBE"})), "FAIL", "grant it READ"),
        (TOPIC._replace(config=config(retention_ms=3_600_000)), "WARN", "for 60 minutes only"),
        (TOPIC._replace(config=config(retention_ms=0)), "WARN", "only"),
        (TOPIC._replace(config=config(cleanup_policy="compact", delete_retention_ms=DAY_MS)), "WARN", "misses deletes"),
        (TOPIC._replace(config=config(cleanup_policy="compact,delete", retention_ms=1000)), "WARN", "loses them"),
        (TOPIC._replace(config=config(max_message_bytes=10**9)), "WARN", "INGEST_MEMORY_MB=512 has no room"),
    ],
    ids=["no leader", "no right", "short", "none", "compacted", "both", "large"],
)
def test_an_odd_topic(topic: TopicSeen, state: str, words: str) -> None:
    found_state, text = the_odd(check_kafka.of_topic(settings(), topic))
    assert state == found_state
    assert words in text


@pytest.mark.parametrize(
    "topic",
    [
        TOPIC,
        TOPIC._replace(config=None),
        TOPIC._replace(config=config(retention_ms=-1)),
        TOPIC._replace(operations=frozenset({"READ"})),
        TOPIC._replace(config=config(cleanup_policy="compact", delete_retention_ms=7 * DAY_MS)),
    ],
    ids=["a week", "not told", "endless", "may read", "compacted well"],
)
def test_a_topic_with_nothing_odd(topic: TopicSeen) -> None:
    assert [] == odd(check_kafka.of_topic(settings(), topic))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (None, "how long it keeps records is not told"),
        (config(retention_ms=-1), "keeps records without end"),
        (config(retention_bytes=10**9), "keeps records for 7 days, at most 1.0 GB a partition"),
        (config(cleanup_policy="compact"), "compacted (the last record of each key stays)"),
    ],
)
def test_how_long_records_stay_in_words(config: dict[str, str] | None, words: str) -> None:
    assert words == check_kafka.kept(TOPIC._replace(config=config))


def test_many_topics_are_summed_up_and_only_odd_ones_shown() -> None:
    topics = [TOPIC._replace(name=f"t{n}") for n in range(50)]
    topics[7] = topics[7]._replace(leaderless=1)
    found = list(check_kafka.of_topics(settings(), topics))
    assert ["topics", "topic t7"] == [each.what for each in found]
    assert "50 topics with 100 partitions" in found[0].text


def test_more_workers_than_partitions_would_idle() -> None:
    assert "the others would idle" in the_odd(check_kafka.of_topics(settings(workers="3"), [TOPIC]))[1]


# ---------------------------------------------------------------- the group


@pytest.mark.parametrize(
    ("group", "state"),
    [
        (GroupSeen("Empty", "", 0, None), None),
        (GroupSeen("Stable", "cooperative-sticky", 1, frozenset({"READ"})), None),
        (GroupSeen("Stable", "range", 1, None), "FAIL"),
        (GroupSeen("Dead", "", 0, frozenset({"DESCRIBE"})), "FAIL"),
        (None, None),
    ],
    ids=["empty", "ours", "others", "forbidden", "not told"],
)
def test_the_group(group: GroupSeen | None, state: str | None) -> None:
    assert ([state] if state else []) == [each for each, _ in odd(check_kafka.of_group(settings(), group))]


@pytest.mark.parametrize(
    ("commits", "begins", "changes", "state", "words"),
    [
        ({}, {0: 0, 1: 0}, {}, None, "has never read orders, it starts at the earliest record"),
        ({}, {0: 0, 1: 0}, {"start_from": "refuse"}, "FAIL", "INGEST_START_FROM is refuse"),
        ({0: 10, 1: 0}, {0: 30, 1: 0}, {}, "FAIL", "retention deleted 20 offsets of 1 partition before they were read"),
        ({0: 10, 1: 0}, {0: 30, 1: 0}, {"on_gap": "continue"}, "WARN", "goes on behind them"),
        ({0: 101}, {0: 0, 1: 0}, {}, "FAIL", "partition 0 ends before what the group has read"),
        ({0: 31}, {0: 30, 1: 0}, {}, "WARN", "retention will soon reach"),
        ({0: 0}, {0: 0, 1: 0}, {}, None, "150 records behind"),
        ({0: 100, 1: 50}, {0: 99, 1: 50}, {}, None, "0 records behind"),
    ],
    ids=["new", "new and refused", "gap", "gap passed", "recreated", "close", "fresh", "caught up"],
)
def test_how_far_the_group_is(
    commits: dict[int, int], begins: dict[int, int], changes: dict[str, str], state: str | None, words: str
) -> None:
    found = list(check_kafka.of_progress(settings(**changes), [TOPIC._replace(commits=commits, begins=begins)]))
    assert ([state] if state else []) == [each for each, _ in odd(found)]
    assert any(words in each.text for each in found)


def test_offsets_that_were_not_told_are_not_judged() -> None:
    assert [] == list(check_kafka.of_progress(settings(), [TOPIC._replace(ends={}, begins={})]))


# ---------------------------------------------------------------- dead letters


def letters(exists: bool = True, **changes: object) -> LettersSeen:
    return LettersSeen(TopicSeen("ingest.dlq", 1, config=config(**changes)), exists)


@pytest.mark.parametrize(
    ("seen", "state", "words"),
    [
        (LettersSeen(None, exists=False), "FAIL", "create it, or set INGEST_DLQ_CREATE=true"),
        (LettersSeen(None, exists=False, refusal="TopicAuthorizationFailedError"), "FAIL", "would not make it"),
        (LettersSeen(None, exists=True), "FAIL", "tells nothing of it"),
        (LettersSeen(TopicSeen("d", 1, operations=frozenset({"READ"})), exists=True), "FAIL", "grant it WRITE"),
        (letters(retention_ms=DAY_MS), "WARN", "keeps letters for 24 hours, while records are kept for 7 days"),
        (letters(exists=False, retention_ms=DAY_MS), "WARN", "keeps letters for 24 hours"),
        (letters(cleanup_policy="compact"), "WARN", "of two letters with one key the first is lost"),
        (letters(max_message_bytes=1000), "WARN", "larger letters lose their value"),
        (letters(), None, "exists: 1 partition, keeps records for 7 days"),
        (letters(exists=False), None, "would be created with the first letter"),
        (letters(retention_ms=-1), None, "keeps records without end"),
    ],
    ids=["missing", "refused", "hidden", "no right", "short", "short to be", "compacted", "small", "well", "to be", "endless"],
)
def test_the_dead_letter_topic(seen: LettersSeen, state: str | None, words: str) -> None:
    found = list(check_kafka.of_letters(settings(), seen, [TOPIC]))
    assert ([state] if state else []) == [each for each, _ in odd(found)]
    assert any(words in each.text for each in found)


def test_letters_of_endless_topics_must_stay_without_end() -> None:
    endless = TOPIC._replace(config=config(retention_ms=-1))
    assert "while records are kept without end" in the_odd(check_kafka.of_letters(settings(), letters(), [TOPIC, endless]))[1]
