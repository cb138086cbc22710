"""Errands of the loop: table descriptions, schemas, probes, new columns and emptied tables, asked off its thread, each one out at
most once.

Runs in the loop's thread; the asking itself runs in the crew's errand thread. What cannot be had now is asked for again after
growing waits; the records that need it wait.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from ingest.errors import IngestError, Parked, Reject, Retry, Stop
from ingest.flow.intake import Intake
from ingest.flow.ports import Registry, Store, Unsure
from ingest.flow.regulator import wait_s
from ingest.flow.state import State
from ingest.flow.writers import Answer, Crew, Errand
from ingest.model import NewColumn, Table

Name = tuple[str, Any]
TABLES: Name = ("tables", None)
PROBE: Name = ("probe", None)
SHOWN_CHARS = 255  # a name may be as long as a record
SHOWN_COLUMNS = 20  # and a record may have ten thousand of them
TakeSchema = Callable[[int | str, tuple[str, str] | Reject], None]


class Errands:
    """believe: called with a table that the catalogue still shows as we knew it. store: used by the errand thread alone.
    registry: None where none is set. take_schema: hands a schema, or the reason why there is none, to the formats room."""

    def __init__(
        self,
        state: State,
        crew: Crew,
        intake: Intake,
        believe: Callable[[str], None],
        store: Store,
        registry: Registry | None,
        take_schema: TakeSchema,
    ) -> None:
        self._state = state
        self._crew = crew
        self._intake = intake
        self._believe = believe
        self._store = store
        self._registry = registry
        self._take_schema = take_schema
        self._out: set[Name] = set()
        self._tries: dict[Name, tuple[int, float]] = {}

    def waiting_for(self) -> str | None:
        """A sentence when something cannot be had, None when all is well."""
        for (kind, subject), (tries, _) in self._tries.items():
            if tries > 1:
                return f"waiting for {thing(kind, subject)} (asked {tries} times)"
        return self._state.tables.trouble()

    def send(self, now_s: float) -> None:
        """Start what is due."""
        state = self._state
        if state.regulator.probe_due(now_s):
            self._ask(PROBE, self._store.probe, now_s)
        for need in set(state.needs.values()):
            if not self._may_ask(need, now_s):
                continue
            if need[0] == "schema":
                self._ask(need, partial(self._fetch, need[1]), now_s)
            elif need[0] == "fields":
                self._look_for_fields(need, str(need[1]), now_s)
            elif need[0] == "truncate":
                self._empty(need, now_s)
        self._describe(now_s)

    def _describe(self, now_s: float) -> None:
        state = self._state
        state.second_look.forget_closed()
        if self._may_ask(TABLES, now_s) and (names := state.tables.to_ask(now_s, state.second_look.tables())):
            state.second_look.begin(names)
            self._ask(TABLES, partial(self._store.describe, names), now_s)

    def _fetch(self, schema_id: Any) -> tuple[str, str]:
        if self._registry is None:
            raise Reject("schema.no_registry", f"the record names schema {schema_id}: set INGEST_SCHEMA_REGISTRY_URL")
        return self._registry.fetch(schema_id)

    def _ask(self, name: Name, ask: Callable[[], Any], now_s: float) -> None:
        if not self._may_ask(name, now_s):
            return
        tries, _ = self._tries.get(name, (0, 0.0))
        self._out.add(name)
        self._tries[name] = (tries + 1, now_s)
        self._crew.ask(Errand(name, ask))

    def _may_ask(self, name: Name, now_s: float) -> bool:
        return name not in self._out and now_s >= self._tries.get(name, (0, 0.0))[1]

    # ------------------------------------------------------------ fields without a column

    def _look_for_fields(self, need: Name, table: str, now_s: float) -> None:
        """Look at the table once more; where its owner wants new columns, add them. Its lanes rest meanwhile."""
        state = self._state
        target, wanted = state.tables.get(table), state.tables.newcomers.wanted(table)
        if target is None:
            return
        if target.mapper.unknown_policy != "add":
            self._ask(need, partial(self._look, table, wanted), now_s)
        elif self._has_room(target.table, wanted):
            state.quiet.add(table)
            if not state.lanes.are_out(table):
                self._ask(need, partial(self._add, table, wanted, self._unsure(table, now_s)), now_s)

    def _look(self, table: str, wanted: list[NewColumn]) -> tuple[Table, list[NewColumn]]:
        found = self._store.describe([table])[table]
        if isinstance(found, Table):
            return found, wanted
        raise found or Retry("table.gone", f"table {table} is not there: asking again")

    def _add(self, table: str, wanted: list[NewColumn], unsure: Unsure) -> tuple[Table, list[NewColumn]]:
        return self._store.add_columns(table, wanted, unsure), wanted

    def _has_room(self, table: Table, wanted: list[NewColumn]) -> bool:
        """Whether the table may get these columns; else it is parked: a topic that makes up fields must not widen it for ever."""
        state, name = self._state, table.full_name
        new = sum(column.name not in table.columns for column in wanted)
        most = state.rules.add_columns_max
        if state.tables.newcomers.added(table) + new <= most or not new:
            return True
        text = (
            f"table {name} would get more than {most} columns from fields that have none (INGEST_ADD_COLUMNS_MAX): if they are "
            "right, `ingest unpark` lets it have as many again; if not, choose another unknown_fields in the contract"
        )
        state.to_park.append(Parked("table.add_limit", text, subject=f"table:{name}"))
        return False

    def _unsure(self, table: str, now_s: float) -> Unsure:
        lanes = [lane for lane in self._state.lanes.of(table) if lane.unsure]
        return Unsure(
            tuple(tag for lane in lanes for tag in lane.unsure), min((now_s - lane.unsure_since_s for lane in lanes), default=0.0)
        )

    def _fields_known(self, need: Name, table: Table, asked: Sequence[NewColumn], now_s: float, now_ms: int) -> None:
        """The table was looked at, and has the columns if it was to get them: the records that waited for it go on."""
        state, name = self._state, table.full_name
        adds = (target := state.tables.get(name)) is not None and target.mapper.unknown_policy == "add"
        self._take({name: table}, now_s, now_ms)
        lacking = state.tables.looked_for(name, asked)
        if adds:
            state.observer.event("info", "columns_added", table=name, columns=[column.name for column in asked])
        elif lacking and target is not None and target.mapper.unknown_policy == "ignore":
            columns = [column.name[:SHOWN_CHARS] for column in lacking[:SHOWN_COLUMNS]]
            state.observer.event("warning", "fields_ignored", table=name, columns=columns, text=advice(name, lacking))
        self._intake.resume(need, now_s, now_ms)

    # ------------------------------------------------------------ truncates

    def _empty(self, need: Name, now_s: float) -> None:
        """Once everything in front of the truncate is stored."""
        state = self._state
        table, truncation = self._intake.truncates.waiting[need[1]]
        target = state.tables.get(table)
        if target is not None and not state.lanes.are_busy(table):
            self._ask(need, partial(self._store.empty, target.table, truncation, self._unsure(table, now_s)), now_s)

    def _emptied(self, need: Name, table: Table, now_s: float, now_ms: int) -> None:
        self._take({table.full_name: table}, now_s, now_ms)
        self._intake.truncates.emptied(need[1])
        self._state.observer.event("warning", "table_emptied", table=table.full_name, at=str(need[1]))
        self._intake.resume(need, now_s, now_ms)

    # ------------------------------------------------------------ answers

    def answered(self, answer: Answer, now_s: float, now_ms: int) -> None:
        """Take an answer in. Raises Stop when it means that the process cannot go on."""
        self._out.discard(answer.name)
        if isinstance(answer.error, Stop):
            raise answer.error
        kind, subject = answer.name
        if kind == "fields":
            self._state.quiet.discard(subject)
        if kind == "probe":
            self._probed(answer.error, now_s)
        elif isinstance(answer.error, Retry):
            self._again_later(answer.name, answer.error, now_s)
        else:
            self._tries.pop(answer.name, None)
            if isinstance(answer.error, Parked):
                self._park(answer.error, now_ms)
            else:
                self._settled(answer, now_s, now_ms)

    def _settled(self, answer: Answer, now_s: float, now_ms: int) -> None:
        kind, subject = answer.name
        if kind == "schema":
            self._take_schema(subject, answer.error if isinstance(answer.error, Reject) else answer.value)
            self._intake.resume(answer.name, now_s, now_ms)
        elif kind == "fields":
            table, asked = answer.value
            self._fields_known(answer.name, table, asked, now_s, now_ms)
        elif kind == "truncate":
            self._emptied(answer.name, answer.value, now_s, now_ms)
        elif kind == "tables":
            self._take(answer.value, now_s, now_ms)
            for name, table in answer.value.items():
                if isinstance(table, Table):
                    self._believe(name)

    def _probed(self, error: IngestError | None, now_s: float) -> None:
        regulator = self._state.regulator
        self._tries.pop(PROBE, None)
        if error is not None:
            regulator.probe_failed(now_s, error.text or error.code)
            return
        regulator.probe_succeeded()
        self._state.tables.look_again()  # what we know may be from before the outage
        self._state.observer.event("info", "store_back")

    def _again_later(self, name: Name, error: Retry, now_s: float) -> None:
        tries, _ = self._tries[name]
        pause_s = wait_s(tries)
        self._tries[name] = (tries, now_s + pause_s)
        self._state.observer.event(
            "warning", f"{name[0]}_retry", code=error.code, text=error.text, attempt=tries, wait_s=round(pause_s, 2)
        )

    def _take(self, found: Mapping[str, Table | IngestError | None], now_s: float, now_ms: int) -> None:
        """Take descriptions in, and act on what they mean."""
        state = self._state
        news = state.tables.learn(found, now_s)
        for error in news.parked:
            self._park(error, now_ms)
        for name in news.changed:
            if state.parking.mended_by_catalogue(name):
                state.observer.event("info", "unparked", subject=f"table:{name}", code="catalogue")
            if name in news.reshaped:
                text = "a column of the table went or got another type: what is under way is read and mapped again"
                state.observer.event("warning", "table_reshaped", table=name, text=text)
                state.hand_back(state.tables.feeders(name))
            self._intake.resume(("table", name), now_s, now_ms)

    def _park(self, error: Parked, now_ms: int) -> None:
        """At once, so that what is handed back asks for nothing any more."""
        self._state.park(error, now_ms)
        self._state.hand_back(self._state.tables.feeders(error.subject.removeprefix("table:")))


def advice(table: str, lacking: Sequence[NewColumn]) -> str:
    """What to do about fields that are left out.

    >>> advice("t", [NewColumn("my size", "BIGINT"), NewColumn("a.b", "")])
    'fields without a column are left out; to keep them: ALTER TABLE t ADD COLUMN "my size" BIGINT'
    """
    parts = [f"ADD COLUMN {column.definition}" for column in lacking if column.type]
    if not parts:
        return "fields are left out whose names no column can have: name a column for each in the contract (columns.NAME.from)"
    more = f" (and {len(parts) - SHOWN_COLUMNS} more)" if len(parts) > SHOWN_COLUMNS else ""
    return f"fields without a column are left out; to keep them: ALTER TABLE {table} {', '.join(parts[:SHOWN_COLUMNS])}{more}"


def thing(kind: str, subject: Any) -> str:
    """What an errand is about, for people."""
    if kind == "schema":
        return f"schema {subject} of the registry"
    if kind == "fields":
        return f"the columns of table {subject}"
    return f"the truncate at {subject}" if kind == "truncate" else "the catalogue of CrateDB"
