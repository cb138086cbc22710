"""Errands of the loop: table descriptions, schemas and probes, asked off its thread, each one out at most once.

Runs in the loop's thread; the asking itself runs in the crew's errand thread. A schema that cannot be had now is asked for
again after growing waits; the records that need it wait.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ingest.errors import IngestError, Reject, Retry, Stop
from ingest.flow.intake import Intake
from ingest.flow.ports import Registry, Store
from ingest.flow.regulator import wait_s
from ingest.flow.state import State
from ingest.flow.writers import Answer, Crew, Errand
from ingest.model import Table

TABLES: tuple[str, Any] = ("tables", None)
PROBE: tuple[str, Any] = ("probe", None)
TakeSchema = Callable[[int | str, tuple[str, str] | Reject], None]


class Errands:
    """store: used by the errand thread alone. registry: None where none is set. take_schema: hands a schema, or the reason why
    there is none, to the formats room."""

    def __init__(
        self, state: State, crew: Crew, intake: Intake, store: Store, registry: Registry | None, take_schema: TakeSchema
    ) -> None:
        self._state = state
        self._crew = crew
        self._intake = intake
        self._store = store
        self._registry = registry
        self._take_schema = take_schema
        self._out: set[tuple[str, Any]] = set()
        self._tries: dict[tuple[str, Any], tuple[int, float]] = {}

    def waiting_for(self) -> str | None:
        """A sentence when a schema or the catalogue cannot be had, None when all is well."""
        for (kind, subject), (tries, _) in self._tries.items():
            if tries > 1:
                what = f"schema {subject} of the registry" if kind == "schema" else "the catalogue of CrateDB"
                return f"waiting for {what} (asked {tries} times)"
        return None

    def send(self, now_s: float) -> None:
        """Start what is due."""
        state = self._state
        if state.regulator.probe_due(now_s):
            self._ask(PROBE, self._store.probe, now_s)
        for need in set(state.needs.values()):
            if need[0] == "schema":
                self._ask(need, partial(self._fetch, need[1]), now_s)
        if self._may_ask(TABLES, now_s) and (names := state.tables.to_ask(now_s)):
            self._ask(TABLES, partial(self._store.describe, names), now_s)

    def _fetch(self, schema_id: Any) -> tuple[str, str]:
        if self._registry is None:
            raise Reject("schema.no_registry", f"the record names schema {schema_id}: set INGEST_SCHEMA_REGISTRY_URL")
        return self._registry.fetch(schema_id)

    def _ask(self, name: tuple[str, Any], ask: Callable[[], Any], now_s: float) -> None:
        if not self._may_ask(name, now_s):
            return
        tries, _ = self._tries.get(name, (0, 0.0))
        self._out.add(name)
        self._tries[name] = (tries + 1, now_s)
        self._crew.ask(Errand(name, ask))

    def _may_ask(self, name: tuple[str, Any], now_s: float) -> bool:
        return name not in self._out and now_s >= self._tries.get(name, (0, 0.0))[1]

    def answered(self, answer: Answer, now_s: float, now_ms: int) -> None:
        """Take an answer in. Raises Stop when it means that the process cannot go on."""
        self._out.discard(answer.name)
        if isinstance(answer.error, Stop):
            raise answer.error
        kind, subject = answer.name
        if kind == "probe":
            self._probed(answer.error, now_s)
        elif isinstance(answer.error, Retry):
            self._again_later(answer.name, answer.error, now_s)
        elif kind == "schema":
            self._tries.pop(answer.name, None)
            self._take_schema(subject, answer.error if isinstance(answer.error, Reject) else answer.value)
            self._intake.resume(answer.name, now_s, now_ms)
        elif kind == "tables":
            self._tries.pop(answer.name, None)
            self._described(answer.value, now_s, now_ms)

    def _probed(self, error: IngestError | None, now_s: float) -> None:
        regulator = self._state.regulator
        self._tries.pop(PROBE, None)
        if error is not None:
            regulator.probe_failed(now_s, error.text or error.code)
            return
        regulator.probe_succeeded()
        self._state.tables.look_again()  # what we know may be from before the outage
        self._state.observer.event("info", "store_back")

    def _again_later(self, name: tuple[str, Any], error: Retry, now_s: float) -> None:
        tries, _ = self._tries[name]
        pause_s = wait_s(tries)
        self._tries[name] = (tries, now_s + pause_s)
        self._state.observer.event(
            "warning", f"{name[0]}_retry", code=error.code, text=error.text, attempt=tries, wait_s=round(pause_s, 2)
        )

    def _described(self, found: Mapping[str, Table | None], now_s: float, now_ms: int) -> None:
        state = self._state
        changed, parked = state.tables.learn(found, now_s)
        for error in parked:
            state.park(error, now_ms)
            state.hand_back(state.tables.feeders(error.subject.removeprefix("table:")))
        for name in changed:
            if state.parking.mended_by_catalogue(name):
                state.observer.event("info", "unparked", subject=f"table:{name}", code="catalogue")
            self._intake.resume(("table", name), now_s, now_ms)
