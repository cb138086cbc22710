"""All tables and views by name, and the statements that run now. Touched under the store's lock only."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from ingest.practice.store import syntax as s
from ingest.practice.store.errors import exists_already, no_relation, no_schema, unsupported
from ingest.practice.store.functions import now_ms
from ingest.practice.store.tables import Table, View

SYSTEM_SCHEMAS = ("sys", "information_schema", "pg_catalog", "blob")
DEFAULT_SCHEMA = "doc"

Name = tuple[str, str]


class Job(NamedTuple):
    """A statement that runs."""

    id: str
    stmt: str
    started_ms: int


@dataclass(eq=False)
class Database:
    """What the store holds."""

    relations: dict[Name, Table | View] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)

    def tables(self) -> list[Table]:
        return [relation for _, relation in sorted(self.relations.items()) if isinstance(relation, Table)]

    def views(self) -> list[View]:
        return [relation for _, relation in sorted(self.relations.items()) if isinstance(relation, View)]

    def name_of(self, relation: s.Relation, schema: str) -> Name:
        return (relation.schema or schema, relation.name)

    def find(self, name: Name) -> Table | View | None:
        return self.relations.get(name)

    def get(self, name: Name) -> Table | View:
        """The table or view of that name. Raises Refusal 4041, or 4045 where its schema has nothing at all."""
        found = self.relations.get(name)
        if found is None:
            known = {schema for schema, _ in self.relations} | {DEFAULT_SCHEMA, *SYSTEM_SCHEMAS}
            raise no_relation(".".join(name)) if name[0] in known else no_schema(name[0])
        return found

    def table(self, name: Name) -> Table:
        found = self.get(name)
        if isinstance(found, View):
            raise unsupported("writing to a view")
        return found

    def add(self, relation: Table | View, *, replaces: bool = False) -> None:
        name = (relation.schema, relation.name)
        if name in self.relations and not replaces:
            raise exists_already(".".join(name))
        self.relations[name] = relation

    @contextmanager
    def running(self, stmt: str) -> Iterator[None]:
        """The statement shows in sys.jobs meanwhile. Safe without the lock: one dict operation at each end."""
        job = Job(str(uuid.uuid4()), stmt, now_ms())
        self.jobs[job.id] = job
        try:
            yield
        finally:
            self.jobs.pop(job.id)
