"""`ingest rebuild TABLE`: makes a table anew from its topics, proves it, and puts it in the place of the old one.

    create <table>_new -> replay into it -> compare both with the topics -> swap the names -> keep the old one as <table>_old

Where a rebuild is follows from what exists (crate.shadows), so after a kill the same command goes on: a replay that was cut short
from the offsets of its own group, a swap without its rename with the rename. The workers must be stopped: what they would write
to the old table after the replay would be missing from the new one. Their offsets stay as they are, because the replay reads up
to these and no further; what a worker nevertheless read meanwhile is replayed once more behind the swap, where the guard makes
repetitions harmless. One thread; the replay has writers of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from ingest.crate import catalogue, shadows
from ingest.crate.http import HttpClient
from ingest.crate.shadows import Names, Seen
from ingest.errors import Stop
from ingest.kafka.members import forget, members
from ingest.kafka.peek import Bounds, Peek, committed
from ingest.model import Partition, Table
from ingest.settings import Settings
from ingest.tools.connect import crate_client, dead_letter_settings, kafka_settings
from ingest.tools.explain_words import counted
from ingest.tools.replay import Progress, ReplayPlan, Report, replay
from ingest.tools.rooms import Rooms
from ingest.tools.verify import Answer, Plan, compare, within
from ingest.tools.verify_scan import OnProgress
from ingest.tools.verify_tables import left_behind
from ingest.tools.why_rows import find_table
from ingest.tools.why_scan import leading_topics

SAID_AT_MOST: Final = 5


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person asks for. ddl: a file with the new CREATE TABLE. drops_old: only remove what an earlier rebuild kept.

    leaves_behind: rows that no topic tells any more stay in the old table.
    """

    table: str
    ddl: Path | None = None
    is_dry: bool = False
    leaves_behind: bool = False
    drops_old: bool = False
    memory_mb: int | None = None


Say = Callable[[str], None]


def rebuild(settings: Settings, asked: Asked, say: Say, on_progress: OnProgress) -> Answer | None:
    """Says each step when it is done. Returns the comparison that kept it from the swap, None when all is well.

    Raises Stop("rebuild.*") and what Kafka, CrateDB and a replay raise.
    """
    settings = within(settings, asked.memory_mb)
    client = crate_client(settings)
    try:
        names = names_of(client, asked.table, settings.crate_schema)
        if asked.drops_old:
            drop_old(client, names, say, is_dry=asked.is_dry)
            return None
        work = Work(settings, asked, client, names, say, on_progress)
        if not asked.is_dry:
            return work.run()
        work.tell_plan()
        return None
    finally:
        client.close()


def names_of(client: HttpClient, name: str, schema: str) -> Names:
    table = find_table(client, name, schema)
    return Names(table.schema, table.name)


def drop_old(client: HttpClient, names: Names, say: Say, *, is_dry: bool) -> None:
    seen = shadows.look(client, names)
    if seen.new or seen.table_marked:
        raise Stop("rebuild.under_way", f"a rebuild of {names.full(names.table)} has not ended: finish it first")
    if not seen.old:
        raise Stop("rebuild.no_old", f"there is no table {names.full(names.old)} to drop")
    if not is_dry:
        shadows.drop_old(client, names)
    say(f"{'would drop' if is_dry else 'dropped'} {names.full(names.old)}")


@dataclass
class Work:
    """One rebuild; see the module. Each step may be the first one after a kill."""

    settings: Settings
    asked: Asked
    client: HttpClient
    names: Names
    say: Say
    on_progress: OnProgress

    def run(self) -> Answer | None:
        seen = self._look()
        self._refuse_beside_workers()
        if not seen.table_marked:
            differing = self._make(seen)
            if differing is not None:
                return differing
            self._refuse_beside_workers()
            shadows.swap(self.client, self.names)
            self.say(f"swapped: {self.table} is the new table")
        self._finish(shadows.look(self.client, self.names))
        return None

    @property
    def table(self) -> str:
        return self.names.full(self.names.table)

    @property
    def new(self) -> str:
        return self.names.full(self.names.new)

    @property
    def group(self) -> str:
        """Where the replay keeps its progress."""
        return f"{self.settings.group_id}.rebuild.{self.table}"

    # ------------------------------------------------------------ what is there

    def _look(self) -> Seen:
        """Raises Stop where tables of these names are not those of a rebuild."""
        seen = shadows.look(self.client, self.names)
        old = self.names.full(self.names.old)
        if (
            seen.new
            and not (seen.new_marked or seen.table_marked)
            and not shadows.is_empty(self.client, self.names, self.names.new)
        ):
            raise Stop("rebuild.stranger", f"{self.new} was not made by a rebuild and holds rows: rename it or drop it")
        if seen.old and (seen.new or not seen.table_marked):
            raise Stop(
                "rebuild.old", f"{old} is there from an earlier rebuild: `ingest rebuild {self.table} --drop-old` drops it"
            )
        return seen

    def _refuse_beside_workers(self) -> None:
        if count := members(dead_letter_settings(self.settings)):
            raise Stop(
                "rebuild.workers_run",
                f"group {self.settings.group_id} has {count} members, and what they write to {self.table} meanwhile would be "
                "missing from the new table: stop the workers, rebuild, start them again",
            )

    def _table(self, name: str) -> Table:
        found = catalogue.describe(self.client, [name])[name]
        if found is None:
            raise Stop("rebuild.no_table", f"there is no table {name} any more: begin again")
        return found

    # ------------------------------------------------------------ before the swap

    def _make(self, seen: Seen) -> Answer | None:
        """Up to a new table that may take the place of the old one; else the comparison that says why it may not."""
        old = self._table(self.table)
        ddl = shadows.ddl_of(self.asked.ddl, self.names) if self.asked.ddl is not None else None
        if not seen.new_marked:
            forget(dead_letter_settings(self.settings), self.group)  # offsets of an earlier new table say nothing of this one
            shadows.create(self.client, self.names, old, ddl)
            self.say(f"created {self.new}{'' if ddl is None else f' as {self.asked.ddl} has it'}")
        ranges = self._ranges()
        told_of(self._replay(ranges, {self.table: self.new}), self.say, self.new)
        return self._prove(ranges)

    def _prove(self, ranges: Mapping[Partition, Bounds]) -> Answer | None:
        """The new table must hold what the topics tell, and the old one nothing that the new one lacks."""
        plan = Plan(ranges, only={self.table}, instead={self.table: self.new}, is_complete=True)
        found = compare(self.settings, plan, self.on_progress)
        if not found.is_equal:
            return found
        rows = sum(month.told for table in found.tables for month in table.months.values())
        self.say(f"{self.new} holds what the topics tell: {rows:,} rows")
        memory = self.settings.memory_mb
        lost = left_behind(self.client, self._table(self.table), self._table(self.new), memory, self.on_progress)
        if lost:
            kept = self.names.full(self.names.old)
            text = f"{self.table} has {counted(lost, 'key')} that the new table lacks or has older: no topic tells them any more"
            if not self.asked.leaves_behind:
                refused = refusals(found)
                raise Stop("rebuild.left_behind", f"{text}{refused}; --leave-behind goes on, and keeps them in {kept}")
            self.say(f"{text}; they stay in {kept}")
        return None

    # ------------------------------------------------------------ behind the swap

    def _finish(self, seen: Seen) -> None:
        old_name = self.names.full(self.names.new if seen.new else self.names.old)
        old, new = self._table(old_name), self._table(self.table)
        if shadows.renew_view(self.client, old, new):
            self.say(f"{self.table}_live shows the columns of the new table")
        elif shadows.breaks_view(self.client, new):
            self.say(f"{self.table}_live cannot be read any more, it names columns that are gone: write it anew")
        self._last_stretch()
        if seen.new:
            shadows.keep_old(self.client, self.names)
        shadows.unmark(self.client, self.names)
        forget(dead_letter_settings(self.settings), self.group)
        kept = self.names.full(self.names.old)
        self.say(f"rebuilt {self.table}; the old one is {kept}, `ingest rebuild {self.table} --drop-old` drops it")

    def _last_stretch(self) -> None:
        """What a worker read since the replay, against advice, went to the old table."""
        ranges = self._ranges()
        reached = committed(replace(kafka_settings(self.settings), group_id=self.group), list(ranges))
        if any(span.end > reached.get(place, span.begin) for place, span in ranges.items()):
            told_of(self._replay(ranges, {}), self.say, self.table)

    # ------------------------------------------------------------ topics

    def _ranges(self) -> dict[Partition, Bounds]:
        """What the topics hold up to where the workers will go on; all of it where the group has read nothing."""
        rooms = Rooms(self.settings)
        try:
            with Peek(kafka_settings(self.settings)) as peek:
                topics = leading_topics(rooms, list(peek.topics()), self._table(self.table))
                held = peek.bounds([Partition(topic, n) for topic in topics for n in range(peek.topics()[topic])])
        finally:
            rooms.close()
        read_to = committed(kafka_settings(self.settings), list(held))
        ends = {place: read_to.get(place, span.begin) if read_to else span.end for place, span in held.items()}
        return {place: Bounds(span.begin, min(span.end, max(span.begin, ends[place]))) for place, span in held.items()}

    def _replay(self, ranges: Mapping[Partition, Bounds], tables: Mapping[str, str]) -> Report:
        plan = ReplayPlan(ranges, tables, frozenset({self.table}), group=self.group, is_unordered=True)

        def tell(progress: Progress) -> None:
            what = f"waiting: {progress.waits_for}" if progress.waits_for else "replaying"
            self.on_progress(what, progress.done, progress.total)

        return replay(self.settings, plan, tell)

    # ------------------------------------------------------------ dry run

    def tell_plan(self) -> None:
        """Say what would be done from here."""
        seen = self._look()
        if count := members(dead_letter_settings(self.settings)):
            self.say(f"refused as long as group {self.settings.group_id} has members: {count} now")
        if seen.table_marked:
            self.say("the swap is done already")
        else:
            ranges = self._ranges()
            how = f"as {self.asked.ddl} has it" if self.asked.ddl is not None else f"like {self.table}"
            if self.asked.ddl is not None:
                shadows.ddl_of(self.asked.ddl, self.names)
            self.say(f"{self.new} is there already, go on with it" if seen.new else f"create {self.new} {how}")
            for place, (begin, end) in ranges.items():
                self.say(f"replay {place} from {begin:,} to {end:,}")
            self.say(f"compare {self.new} with the topics, and {self.table} with {self.new}")
            self.say(f"swap {self.new} and {self.table}")
        if seen.new or not seen.table_marked:
            self.say(f"keep the old table as {self.names.full(self.names.old)}")


def told_of(report: Report, say: Say, table: str) -> None:
    """Raises Stop where a replay did not get to its end."""
    if report.unreached:
        why = "it was stopped" if report.was_stopped else "; ".join(str(place.text) for place in report.parked[:SAID_AT_MOST])
        raise Stop("rebuild.unfinished", f"the replay into {table} did not get to its end ({why}): the same command goes on")
    refused = f", {report.refused:,} refused ({codes(report.codes)})" if report.refused else ""
    say(f"replayed {report.books.read:,} records into {table}{refused}")


def codes(found: Mapping[str, int]) -> str:
    return ", ".join(f"{code} {count:,}" for code, count in sorted(found.items()))


def refusals(answer: Answer) -> str:
    """The records that the new table does not take, which may be the reason."""
    found = rejected(answer)
    return f", or it refuses their records ({codes(found)})" if found else ""


def rejected(answer: Answer) -> Mapping[str, int]:
    found: dict[str, int] = {}
    for table in answer.tables:
        for code, count in table.rejected.items():
            found[code] = found.get(code, 0) + count
    return found
