"""The verdict on a row: tables, dead letters and books against the model, and commits against what was settled by then.

`check_commits` may be called at any moment, also by a fault: what the group has committed must be in CrateDB or among the dead
letters already, whatever else goes on. It reads around the proxy, the offsets first, so what is written meanwhile only helps.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from kafka.errors import KafkaError
from urllib3.exceptions import HTTPError

from tests.chaos.rig import Rig
from tests.chaos.scenario import seconds
from tests.integration.worker_rig import Done
from tests.oracle import compare, kafka_io
from tests.oracle.compare import Differences
from tests.oracle.log import Fate, Kind, Place, Sent
from tests.oracle.model import expected, order
from tests.oracle.tables import TABLES, Key

PAGE_ROWS = 1_000_000
AUDIT_S, JOIN_S = 3.0, 130.0
Newest = dict[tuple[str, Key], Sent]


class Stored(NamedTuple):
    """What CrateDB has of a key: the newest change, and the newest one of a row that readers see."""

    newest: tuple[int, int]
    live: tuple[int, int] | None


def check_commits(rig: Rig) -> None:
    """Note every record that is committed and neither stored nor dead-lettered.

    While shards are away a look may miss rows without an error (seen with two nodes of three killed; all rows were there in the
    end), so it proves nothing then; what is really lost is missed by the last look too.
    """
    was_readable = rig.is_readable()
    found = list(committed_too_far(rig))
    if found and not (was_readable and rig.is_readable()):
        return
    for text in found:
        rig.differences.add("committed too far", text)
    rig.commit_checks += 1


def committed_too_far(rig: Rig) -> Iterator[str]:
    """A sentence for each such record. The offsets are read first, so what is written meanwhile only helps."""
    committed = rig.committed()
    rows = {table: rows_of(rig, table) for table in rig.scenario.tables}
    letters = {place for place, _ in kafka_io.read_letters(rig.kafka, rig.dead_letters)}
    sent = {each.at: each for each in list(rig.load.log.sent)}  # last, so that it knows of every row that was read
    below = [each for each in sent.values() if each.at.offset < committed.get(each.at[:2], 0)]
    for each in below:
        if each.fate is Fate.DEAD and each.at not in letters:
            yield f"{each.at} is committed and there is no dead letter of it"
    seen = {table: [row for row in rows[table] if not rig.is_ghost(sent[Place(*row[-3:])])] for table in rows}
    stored = {table: stored_in(table, seen[table], sent) for table in seen}
    for (table, key), change in newest_of(below).items():
        if not is_settled(change, stored[table].get(key)) and not rig.is_gone(change):
            yield f"{change.at} is committed, {table} {key} has {stored[table].get(key)}"


def newest_of(sent: list[Sent]) -> Newest:
    """The last change of each key among these."""
    newest: Newest = {}
    for each in sent:
        if each.fate is Fate.KEPT and each.change is not None:
            which = (each.change.table, each.change.key)
            if which not in newest or order(each) > order(newest[which]):
                newest[which] = each
    return newest


def rows_of(rig: Rig, table: str) -> list[list[Any]]:
    """What is in the table, tombstones too: key, whether it is deleted, where it came from."""
    names = ", ".join([*TABLES[table].key, "cdc_deleted", "cdc_topic", "cdc_partition", "cdc_offset"])
    rig.crate.rows(f"REFRESH TABLE {table}")
    return rig.crate.rows(f"SELECT {names} FROM {table} LIMIT {PAGE_ROWS}")


def stored_in(table: str, rows: list[list[Any]], sent: Mapping[Place, Sent]) -> dict[Key, Stored]:
    """By key."""
    stored: dict[Key, Stored] = {}
    for *key_parts, deleted, topic, partition, offset in rows:
        key, at = tuple(key_parts), order(sent[Place(topic, partition, offset)])
        before = stored.get(key, Stored((-1, -1), None))
        live = before.live if deleted else max(at, before.live or at)
        stored[key] = Stored(max(at, before.newest), live)
    return stored


def is_settled(change: Sent, stored: Stored | None) -> bool:
    """A delete of what was never stored need not leave anything; nothing older than it may be seen."""
    assert change.change is not None
    if change.change.kind is Kind.DELETE:
        return stored is None or stored.live is None or stored.live >= order(change)
    return stored is not None and stored.newest >= order(change)


class Auditor:
    """Calls `check_commits` every few seconds from a thread of its own during the fault, whenever the servers answer."""

    def __init__(self, rig: Rig) -> None:
        self._rig, self._stop = rig, threading.Event()
        self._thread = threading.Thread(target=self._run, name="auditor", daemon=True)

    def __enter__(self) -> None:
        if self._rig.scenario.is_audited:
            self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(JOIN_S)

    def _run(self) -> None:
        while not self._stop.wait(AUDIT_S):
            with suppress(KafkaError, RuntimeError, HTTPError, OSError, ValueError):  # they do not answer: that is the row
                check_commits(self._rig)


# ---------------------------------------------------------------- at the end


def verdict(rig: Rig, done: list[Done]) -> dict[str, Any]:
    """The line of the row. done: the workers that ran to the end."""
    log, plan = rig.load.log, rig.scenario
    must = expected(log)
    by_place = {sent.at: sent for sent in log.sent}
    for table in plan.tables:
        rows = [row for row in rig.crate.live_rows(table) if not rig.is_ghost(by_place[compare.origin(row)])]
        there = {compare.key_of(TABLES[table], row) for row in rows}
        wanted = {key: row for key, row in must.rows[table].items() if key in there or not rig.is_gone(by_place[row.at])}
        rig.differences.extend(compare.compare_rows(table, wanted, rows))
        gone = len(must.rows[table]) - len(wanted)
        rig.seen |= {"gone": gone} if gone else {}
    letters = kafka_io.read_letters(rig.kafka, rig.dead_letters)
    rig.differences.extend(compare.compare_letters(must.letters, letters, {sent.at: sent.what for sent in log.sent}))
    for each in done:
        rig.differences.extend(books_of(each))
    if plan.books == "exact":
        rig.differences.extend(compare.compare_books(must, done[-1].answer, "skipped"))
    return line(rig, len(letters))


def books_of(done: Done) -> Differences:
    """A worker must end with 0, its books balanced, nothing unsettled or parked."""
    found = Differences()
    told = {name: done.answer.get(name) for name in ("is_balanced", "unsettled", "parked")}
    if (done.code, told) != (0, {"is_balanced": True, "unsettled": 0, "parked": []}):
        found.add("end", f"exit code {done.code}, {told}, {done.sentences[-3:]}")
    return found


def line(rig: Rig, letters: int) -> dict[str, Any]:
    plan, times, kinds = rig.scenario, rig.times, rig.differences.kinds
    counts, rows = rig.watch.counts(), rig.tally.rows
    retries = {name.partition(".")[2]: count for name, count in sorted(counts.items()) if name.startswith("retries.")}
    return {
        "row": plan.name,
        "of": plan.of,
        "fault": plan.says,
        "seed": plan.seed,
        "records": len(rig.load.log.sent),
        "is_short": plan.is_short,
        "equal": not rig.differences,
        "lost": kinds["row missing"] + kinds["letter missing"] + kinds["committed too far"],
        "differences": dict(kinds),
        "first_differences": rig.differences.shown,
        "fault_s": seconds(times.began_s, times.ended_s),
        "first_write_s": seconds(times.ended_s, times.wrote_s or rig.tally.wrote_s),
        "caught_up_s": seconds(times.ended_s, times.caught_up_s),
        "rows_sent": rows["sent"],
        "repeats": rows["repeats"],
        "stale": counts["rows.superseded"],
        "unanswered": rows["unanswered"],
        "retries": retries,
        "letters": letters,
        "commit_checks": rig.commit_checks,
        "seen": rig.seen,
        "versions": {"kafka": rig.kafka_server.version, "cratedb": rig.crate_server.version},
    }
