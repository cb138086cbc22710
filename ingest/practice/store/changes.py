"""UPDATE and DELETE: by the full key, one row each with an answer of its own, or by query. Runs under the store's lock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ingest.practice.store import syntax as s
from ingest.practice.store.errors import Refusal, no_document, other_version
from ingest.practice.store.expressions import Scope
from ingest.practice.store.keys import key_test, names_in, partition_of
from ingest.practice.store.tables import SYSTEM_TYPES, Key, Partition, Row, Table, null_key
from ingest.practice.store.writes import (
    Done,
    Entry,
    Fault,
    Result,
    changed,
    compiled_sets,
    explained,
    refuse_if_blocked,
    target_columns,
)

ALL_OF_A_PARTITION = -1  # the rowcount of a DELETE that drops partitions


class Changing:
    """One UPDATE (sets is not None) or DELETE of one table."""

    def __init__(self, table: Table, where: s.Expression | None, sets: Sequence[tuple[str, s.Expression]] | None) -> None:
        refuse_if_blocked(table, "DELETE" if sets is None else "UPDATE")
        self._table = table
        compiler = target_columns(table)
        compiler.columns = {**compiler.columns, **SYSTEM_TYPES}
        self.params = compiler.params
        self._sets = None if sets is None else compiled_sets(table, sets, compiler)
        self._key = key_test(table, where, compiler)
        self._test = None if where is None else compiler.compile(where).of
        named = names_in(where)
        self._drops = sets is None and bool(table.partitioned_by) and named <= set(table.partitioned_by) and self._key is None

    def bulk(self, entries: Sequence[Entry]) -> list[Result]:
        """One result per entry."""
        prepared = [self.params.prepared(entry) for entry in entries]
        if self._drops:
            raise Refusal(400, 4004, "UnsupportedFeatureException", "Bulk operation not supported for DeletePartitions")
        if self._key is None:
            return [{"rowcount": self._by_query(params)} for params in prepared]
        keys = [self._named_key(params) for params in prepared]
        return explained(self._attempt(key, params) for key, params in zip(keys, prepared, strict=True))

    def single(self, entry: Entry) -> int:
        """Rows changed; a row that is not there, or was changed since it was read, counts nothing."""
        params = self.params.prepared(entry)
        if self._drops:
            return self._drop_partitions(params)
        if self._key is None:
            return self._by_query(params)
        done = self._attempt(self._named_key(params), params)
        if isinstance(done, int):
            return done
        if done.why.code in (40411, 4092):
            return 0
        raise done.why

    # ------------------------------------------------------------ by key

    def _named_key(self, params: Sequence[Any]) -> Key:
        key = self._key.key(params) if self._key else ()
        if None in key:
            raise null_key()
        return key

    def _attempt(self, key: Key, params: Sequence[Any]) -> Done:
        values = partition_of(self._table, key)
        partition = self._table.partitions.get(values)
        if partition is None:
            return 0
        try:
            row = partition.rows.get(key)
            if row is None:
                raise no_document(key[0])
            if self._key and not self._key.fits(row, params):
                raise other_version(key[0])
            self._change(partition, key, row, params)
            return 1
        except Refusal as why:
            return Fault(why, (values, self._table.shard_of(key)))

    def _change(self, partition: Partition, key: Key, row: Row, params: Sequence[Any]) -> None:
        if self._sets is None:
            self._table.remove(partition, key)
        else:
            self._table.store(partition, key, changed(self._table, row, self._sets, Scope(row, {}, params)))

    # ------------------------------------------------------------ by query

    def _by_query(self, params: Sequence[Any]) -> int:
        found = [
            (partition, key, row)
            for partition in self._table.partitions.values()
            for key, row in partition.rows.items()
            if self._test is None or self._test(Scope(row, {}, params))
        ]
        for partition, key, row in found:
            self._change(partition, key, row, params)
        return len(found)

    def _drop_partitions(self, params: Sequence[Any]) -> int:
        names = self._table.partitioned_by
        for values in list(self._table.partitions):
            row = dict(zip(names, values, strict=True))
            if self._test is None or self._test(Scope(row, {}, params)):
                del self._table.partitions[values]
        return ALL_OF_A_PARTITION
