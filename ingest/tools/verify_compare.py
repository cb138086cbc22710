"""Compares the two sides part by part, looks again at what differs, and mends it where that is asked for. One thread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from ingest.crate.http import HttpClient
from ingest.crate.pages import Reader, Row
from ingest.kafka.peek import Bounds
from ingest.model import Level, Partition, Table
from ingest.tools.verify_fold import Folded, State
from ingest.tools.verify_judge import BUSY, UNREAD, Difference, Judge, Unjudged, Verdict
from ingest.tools.verify_repair import Repairer
from ingest.tools.verify_scan import OnProgress, Target
from ingest.tools.verify_spill import Key, Part, Spill, key_hash

MASK: Final = (1 << 64) - 1
PERMILLE: Final = 1_000


class Wanted(Protocol):
    """What of a verify.Plan matters here."""

    @property
    def read_to(self) -> Mapping[Partition, int]: ...
    @property
    def is_complete(self) -> bool: ...
    @property
    def limit(self) -> int: ...


@dataclass(slots=True)
class MonthAnswer:
    """Live rows of one month. told, stored: how many the topics and the table have of keys that the topics tell; their checksums.

    A checksum is the sum of 64-bit hashes of key, month and version, so it does not depend on order. table_only: rows of keys
    that the topics do not tell.
    """

    told: int = 0
    stored: int = 0
    told_sum: int = 0
    stored_sum: int = 0
    table_only: int = 0
    differing: int = 0


@dataclass
class TableAnswer:
    """What was found of one table. differences: the first of them; differing: how many there are. repaired: of those.

    unjudged: keys of which nobody can say whether they are right, by why. rejected: records that the mapper refuses, by code;
    lettered: changes that went to the dead letters.
    """

    table: Table
    months: dict[int | None, MonthAnswer] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    unjudged: Counter[str] = field(default_factory=Counter)
    rejected: Mapping[str, int] = field(default_factory=dict)
    lettered: int = 0
    keys: int = 0
    repaired: int = 0

    @property
    def differing(self) -> int:
        return self.kinds.total()

    def month(self, month: int | None) -> MonthAnswer:
        found = self.months.get(month)
        if found is None:
            found = self.months[month] = MonthAnswer()
        return found


class Case(NamedTuple):
    """One key on both sides. folded: None where the topics do not tell it."""

    key: Key
    folded: Folded | None
    rows: list[Row]


class Comparison:
    """Every part of a spill, table by table. wait: until the group has read what came meanwhile, False when it does not."""

    def __init__(
        self, client: HttpClient, targets: Sequence[Target], spans: Mapping[Partition, Bounds], plan: Wanted, page_bytes: int
    ) -> None:
        self._targets, self._plan = {target.number: target for target in targets}, plan
        self._answers = {target.number: TableAnswer(target.table) for target in targets}
        self._judges = {t.number: Judge(t.table, spans, t.truncates, plan.is_complete) for t in targets}
        self._readers = {target.number: Reader(client, target.table, page_bytes) for target in targets}
        self._has_passed: bool | None = None
        self.wait: Callable[[], bool] = lambda: True
        self.repairer: Repairer | None = None

    def answers(self) -> list[TableAnswer]:
        """By the tables' names."""
        for number, target in self._targets.items():
            self._answers[number].rejected, self._answers[number].lettered = dict(target.rejected), target.lettered
        return sorted(self._answers.values(), key=lambda answer: answer.table.full_name)

    def run(self, spill: Spill, on_progress: OnProgress) -> None:
        for share, part in spill.parts():
            for number, cases in self._cases(part).items():
                self._compare(number, cases)
            on_progress("comparing", int(share * PERMILLE), PERMILLE)

    # ------------------------------------------------------------ one part

    def _cases(self, part: Part) -> dict[int, dict[Key, Case]]:
        """The keys of a part by table, both sides together."""
        found: dict[int, dict[Key, Case]] = {}
        for number, key, told in part.told.read():
            cases = found.setdefault(number, {})
            case = cases.get(key)
            if case is None or case.folded is None:
                case = cases[key] = Case(key, Folded(), [])
            assert case.folded is not None
            case.folded.add(told, is_ordered=self._judges[number].is_ordered)
        for number, key, row in part.stored.read():
            cases = found.setdefault(number, {})
            if key not in cases:
                cases[key] = Case(key, None, [])
            cases[key].rows.append(row)
        return found

    def _compare(self, number: int, cases: Mapping[Key, Case]) -> None:
        answer, judge = self._answers[number], self._judges[number]
        doubtful: list[Case] = []
        for case in cases.values():
            verdict = judge.judge(raw_key(case), case.folded, case.rows)
            if isinstance(verdict, Difference) and case.folded is not None:
                doubtful.append(case)
            else:
                self._count(answer, case, verdict)
        found = self._look_again(number, doubtful)
        if self.repairer is not None and found:
            answer.repaired += self.repairer.mend(answer.table, found)

    def _look_again(self, number: int, doubtful: Sequence[Case]) -> list[Difference]:
        """What differs for sure: behind a REFRESH, by key, after the group passed what was read."""
        if not doubtful:
            return []
        if self._has_passed is None:
            self._has_passed = self.wait()
        reader, found = self._readers[number], []
        reader.refresh()
        rows = reader.of_keys([raw_key(case) for case in doubtful])
        for case in doubtful:
            now = case._replace(rows=rows.get(case.key, []))
            verdict = self._second(number, case, now)
            self._count(self._answers[number], now, verdict)
            if isinstance(verdict, Difference):
                found.append(verdict)
        return found

    def _second(self, number: int, before: Case, now: Case) -> Verdict:
        judge, folded = self._judges[number], now.folded
        verdict = judge.judge(raw_key(now), folded, now.rows)
        if not isinstance(verdict, Difference) or folded is None:
            return verdict
        is_moving = not judge.is_ordered and sorted(map(repr, before.rows)) != sorted(map(repr, now.rows))
        if is_moving or (folded.later and not self._has_passed):
            return Unjudged(BUSY)
        return Unjudged(UNREAD) if self._is_unread(verdict) else verdict

    def _is_unread(self, found: Difference) -> bool:
        """Whether it is about a record that the group did not read, though it reads that partition."""
        if found.state is None:
            return False
        at = found.state.change.at
        read_to = self._plan.read_to.get(Partition(at.topic, at.partition))
        return read_to is not None and at.offset >= read_to

    # ------------------------------------------------------------ counting

    def _count(self, answer: TableAnswer, case: Case, verdict: Verdict) -> None:
        answer.keys += 1
        if isinstance(verdict, Unjudged):
            self._count_unjudged(answer, case, verdict)
            return
        live = [row for row in case.rows if not row.is_deleted]
        for row in live:
            self._count_row(answer, row.month, case.key, row.version, is_told=verdict is None)
        if isinstance(verdict, Difference):
            answer.kinds[verdict.kind] += 1
            answer.month(verdict.month).differing += 1
            if len(answer.differences) < self._plan.limit:
                answer.differences.append(verdict)
            self._count_told(answer, case, verdict.state)

    def _count_unjudged(self, answer: TableAnswer, case: Case, verdict: Unjudged) -> None:
        answer.unjudged[verdict.why] += 1
        if case.folded is None:
            for row in case.rows:
                answer.month(row.month).table_only += not row.is_deleted

    @staticmethod
    def _count_row(answer: TableAnswer, month: int | None, key: Key, version: str | None, *, is_told: bool) -> None:
        found, digest = answer.month(month), row_hash(key, month, version)
        found.stored += 1
        found.stored_sum = (found.stored_sum + digest) & MASK
        if is_told:
            found.told += 1
            found.told_sum = (found.told_sum + digest) & MASK

    @staticmethod
    def _count_told(answer: TableAnswer, case: Case, state: State | None) -> None:
        if state is not None and state.is_live:
            found = answer.month(state.month)
            found.told += 1
            version = state.version if answer.table.level is Level.ORDERED else None
            found.told_sum = (found.told_sum + row_hash(case.key, state.month, version)) & MASK


def row_hash(key: Key, month: int | None, version: str | None) -> int:
    return key_hash(-1, (*key, str(month), version or ""))


def raw_key(case: Case) -> tuple[object, ...]:
    """The key as it can be asked for."""
    folded = case.folded
    if folded is not None:
        for state in (folded.state, *folded.later, folded.lettered):
            if state is not None:
                return state.change.key
    return case.rows[0].key if case.rows else case.key
