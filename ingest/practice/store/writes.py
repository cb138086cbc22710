"""INSERT, and what all writes share: first what concerns the whole request, then row by row, as CrateDB does it.

A value that cannot be cast, a NULL in the key, a broken rule in a row of a new partition refuse the request and nothing is
written. After that each row stands for itself: a bulk request goes on, and its answer explains ten failures per shard.
Runs under the store's lock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from ingest.practice.store import syntax as s
from ingest.practice.store.errors import Refusal, bad, blocked, duplicate_key, no_column, not_updatable
from ingest.practice.store.expressions import Compiler, Evaluate, Params, Scope
from ingest.practice.store.tables import Key, Row, Table

EXPLAINED_PER_SHARD = 10

Entry = Sequence[Any]
Result = dict[str, Any]


class Fault(NamedTuple):
    """A row that failed, and the shard it would be in."""

    why: Refusal
    shard: tuple[Key, int]


class Candidate(NamedTuple):
    """A row of an INSERT, ready for its shard. entry: which of bulk_args it came from."""

    entry: int
    row: Row
    key: Key
    partition: Key
    params: Sequence[Any]


Done = int | Fault


def explained(dones: Iterable[Done]) -> list[Result]:
    """The results of a bulk request: errors carry a reason for the first ten of each shard of each partition."""
    told: Counter[tuple[Key, int]] = Counter()
    results: list[Result] = []
    for done in dones:
        if isinstance(done, int):
            results.append({"rowcount": done})
            continue
        told[done.shard] += 1
        error = {"error": {"code": done.why.code, "message": str(done.why)}} if told[done.shard] <= EXPLAINED_PER_SHARD else {}
        results.append({"rowcount": -2, **error})
    return results


def refuse_if_blocked(table: Table, operation: str) -> None:
    if table.is_set("blocks.read_only") or table.is_set("blocks.write"):
        raise blocked(table.full_name, operation)


def target_columns(table: Table) -> Compiler:
    """A compiler that knows the table's columns."""
    types = {name: column.type for name, column in table.columns.items()}
    return Compiler(types, Params(), frozenset({table.name, table.full_name}))


def compiled_sets(table: Table, sets: Iterable[tuple[str, s.Expression]], compiler: Compiler) -> list[tuple[str, Evaluate]]:
    """Assignments, each to a column that may be updated. Raises Refusal 4003 or 4043."""
    found = []
    for name, expression in sets:
        if name not in table.columns:
            raise no_column(name)
        refuse_fixed(table, name)
        found.append((name, compiler.compile(expression, table.columns[name].type).of))
    return found


def refuse_fixed(table: Table, name: str) -> None:
    if name in table.key:
        raise not_updatable(name, "Updating a primary key is not supported")
    if name in table.partitioned_by:
        raise not_updatable(name, "Updating a partitioned-by column is not supported")
    if name == table.clustered_by:
        raise not_updatable(name, "Updating a clustered-by column is not supported")
    if any(name in table.columns[part].sources for part in table.partitioned_by):
        why = "Updating a column which is referenced in a partitioned by generated column expression is not supported"
        raise not_updatable(name, why)
    if table.columns[name].generated:
        raise not_updatable(name, "Updating a generated column is not supported")


def changed(table: Table, old: Row, sets: Sequence[tuple[str, Evaluate]], scope: Scope) -> Row:
    """The row after assignments that all see the old one. Raises Refusal for what the row then breaks."""
    row = dict(old)
    for name, value in sets:
        row[name] = value(scope)
    for name, column in table.columns.items():
        if column.generated and name not in table.partitioned_by:
            row[name] = column.generated(row)
    if why := table.row_fault(row) or table.value_fault(row):
        raise why
    return row


# ---------------------------------------------------------------- insert


class Inserting:
    """One INSERT statement about one table."""

    def __init__(self, table: Table, insert: s.Insert) -> None:
        refuse_if_blocked(table, "INSERT")
        self._table = table
        self._columns = insert.columns or tuple(table.columns)
        for name in self._columns:
            if name not in table.columns:
                raise no_column(name)
        compiler = target_columns(table)
        self.params = compiler.params
        self._rows = [self._compiled(row, compiler) for row in insert.rows]
        self._conflict = insert.conflict
        self._sets: list[tuple[str, Evaluate]] = []
        if insert.conflict and insert.conflict.target:
            self._check_target(insert.conflict.target)
        if insert.conflict and insert.conflict.sets:
            compiler.excluded = {name: table.columns[name].type for name in self._columns}
            self._sets = compiled_sets(table, insert.conflict.sets, compiler)

    def _compiled(self, row: Sequence[s.Expression], compiler: Compiler) -> list[Evaluate]:
        if len(row) != len(self._columns):
            names = ", ".join(self._columns)
            raise bad(f"Number of target columns ({names}) of insert statement doesn't match number of source columns")
        plain = Compiler({}, compiler.params)
        types = [self._table.columns[name].type for name in self._columns]
        return [plain.compile(value, type_).of for value, type_ in zip(row, types, strict=True)]

    def _check_target(self, target: Sequence[str]) -> None:
        key = ", ".join(self._table.key)
        if len(target) != len(self._table.key):
            named = ", ".join(map(s.quoted, target))
            raise bad(f"Number of conflict targets ([{named}]) did not match the number of primary key columns ([{key}])")
        if set(target) != set(self._table.key):
            raise bad(f"Conflict target ({', '.join(target)}) did not match the primary key columns ([{key}])")

    # ------------------------------------------------------------ the whole request

    def candidates(self, entries: Iterable[Entry]) -> list[Candidate]:
        """The rows of VALUES for all entries."""
        found = []
        for place, entry in enumerate(entries):
            params = self.params.prepared(entry)
            scope = Scope({}, {}, params)
            for values in self._rows:
                row = dict(zip(self._columns, [value(scope) for value in values], strict=True))
                found.append(self._candidate(place, row, params))
        return found

    def from_rows(self, rows: Iterable[Row], entry: Entry) -> Iterator[Candidate]:
        """The rows of a query; those that make no candidate are left out without a word, as CrateDB does."""
        params = self.params.prepared(entry)
        for place, row in enumerate(rows):
            try:
                yield self._candidate(place, row, params)
            except Refusal:
                continue

    @property
    def columns(self) -> Sequence[str]:
        return self._columns

    def _candidate(self, entry: int, row: Row, params: Sequence[Any]) -> Candidate:
        self._complete(row)
        table = self._table
        return Candidate(entry, row, table.key_of(row), table.partition_values(row), params)

    def _complete(self, row: Row) -> None:
        """Fill in defaults, then generated columns; a generated one that was given must be what it would be."""
        for name, column in self._table.columns.items():
            if column.default and name not in row:
                row[name] = column.default(row)
        for name, column in self._table.columns.items():
            if column.generated:
                computed = column.generated(row)
                if row.setdefault(name, computed) != computed:
                    raise bad(f"Given value for generated column {name} does not match calculation {column.generated_text}")

    def create_partitions(self, candidates: Sequence[Candidate]) -> None:
        """Make the partitions that are missing, unless a row for one of them breaks a rule of the table."""
        missing = [one for one in candidates if one.partition not in self._table.partitions]
        for one in missing:
            if why := self._table.row_fault(one.row):
                raise why
        for values in dict.fromkeys(one.partition for one in missing):
            self._table.create_partition(values)

    # ------------------------------------------------------------ row by row

    def apply(self, one: Candidate) -> Done:
        """1: written. 0: left alone by DO NOTHING. Else why not."""
        table, partition = self._table, self._table.partitions[one.partition]
        try:
            if why := table.row_fault(one.row) or table.value_fault(one.row):
                raise why
            old = partition.rows.get(one.key)
            if old is None:
                table.store(partition, one.key, one.row)
                return 1
            if self._conflict is None:
                raise duplicate_key()
            if self._conflict.sets is None:
                return 0
            table.store(partition, one.key, changed(table, old, self._sets, Scope(old, one.row, one.params)))
            return 1
        except Refusal as why:
            return Fault(why, (one.partition, table.shard_of(one.key)))

    def bulk(self, entries: Sequence[Entry]) -> list[Result]:
        """Entries of several rows fail as a whole in the answer, although their good rows are written."""
        candidates = self.candidates(entries)
        self.create_partitions(candidates)
        dones: list[Done] = [0] * len(entries)
        for one in candidates:
            done, before = self.apply(one), dones[one.entry]
            if isinstance(before, int):
                dones[one.entry] = before + done if isinstance(done, int) else done
        return explained(dones)

    def single(self, entry: Entry) -> int:
        """Rows written. One row, or any of a partitioned table, fails the statement; of others failing rows are not counted."""
        candidates = self.candidates([entry])
        self.create_partitions(candidates)
        dones = [self.apply(one) for one in candidates]
        faults = [done for done in dones if isinstance(done, Fault)]
        if faults and (len(dones) == 1 or self._table.partitioned_by):
            raise faults[0].why
        return sum(done for done in dones if isinstance(done, int))

    def copied(self, rows: Iterable[Row], entry: Entry) -> int:
        """Rows of a query that were written; a row that fails is left out without a word."""
        written = 0
        for one in list(self.from_rows(rows, entry)):
            if one.partition not in self._table.partitions:
                self._table.create_partition(one.partition)
            done = self.apply(one)
            written += done if isinstance(done, int) else 0
        return written
