"""information_schema and sys: rows made from the database each time somebody asks. Runs under the store's lock."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ingest.practice.store.database import DEFAULT_SCHEMA, SYSTEM_SCHEMAS, Database, Name
from ingest.practice.store.expressions import PARTITION_VALUES
from ingest.practice.store.tables import Row, Table
from ingest.practice.store.types import BIGINT, BOOLEAN, INT, OBJECT, PRECISIONS, TEXT, TIMESTAMP, DataType

# What the store claims to be, so that clients take it for a server they know; its name tells what it is.
CRATE_VERSION = "6.4.3"
STORE_NAME = "ingest practice store"
NODE_ID = "ingest-practice"
TEXTS = DataType("array", element=TEXT)

Types = dict[str, DataType]
Virtual = tuple[Types, Callable[[Database], Iterable[Row]]]


def typed(**types: DataType) -> Types:
    return types


# ---------------------------------------------------------------- information_schema

TABLE_TYPES = typed(
    table_schema=TEXT, table_name=TEXT, table_catalog=TEXT, table_type=TEXT, partitioned_by=TEXTS, clustered_by=TEXT,
    number_of_shards=INT, number_of_replicas=TEXT, column_policy=TEXT, version=OBJECT, closed=BOOLEAN, settings=OBJECT,
)  # fmt: skip


def tables(database: Database) -> Iterator[Row]:
    for table in database.tables():
        yield {
            **named(table.schema, table.name), "table_catalog": "crate", "table_type": "BASE TABLE",
            "partitioned_by": list(table.partitioned_by) or None, "clustered_by": clustered_by(table),
            "number_of_shards": table.shards, "number_of_replicas": str(table.settings.get("number_of_replicas", "0-1")),
            "column_policy": "strict", "version": {"created": CRATE_VERSION, "upgraded": None}, "closed": False,
            "settings": settings(table),
        }  # fmt: skip
    for view in database.views():
        yield {**dict.fromkeys(TABLE_TYPES), **named(view.schema, view.name), "table_catalog": "crate", "table_type": "VIEW"}


def named(schema: str, name: str) -> Row:
    return {"table_schema": schema, "table_name": name}


def clustered_by(table: Table) -> str:
    return table.clustered_by or (table.key[0] if len(table.key) == 1 else "_id")


def settings(table: Table) -> dict[str, Any]:
    blocks = ("read_only", "write", "read", "metadata", "read_only_allow_delete")
    return {
        "refresh_interval": table.settings.get("refresh_interval", 1000),
        "translog": {"durability": table.settings.get("translog.durability", "REQUEST")},
        "blocks": {block: table.is_set(f"blocks.{block}") for block in blocks},
    }


COLUMN_TYPES = typed(
    table_schema=TEXT, table_name=TEXT, table_catalog=TEXT, column_name=TEXT, column_details=OBJECT, ordinal_position=INT,
    data_type=TEXT, numeric_precision=INT, numeric_scale=INT, character_maximum_length=INT, is_nullable=TEXT,
    column_default=TEXT, is_generated=TEXT, generation_expression=TEXT,
)  # fmt: skip


def columns(database: Database) -> Iterator[Row]:
    for table in database.tables():
        position = 0
        for column in table.columns.values():
            own = {
                "is_nullable": "YES" if column.is_nullable and column.name not in table.key else "NO",
                "column_default": column.default_text,
                "is_generated": "ALWAYS" if column.generated else "NEVER",
                "generation_expression": column.generated_text,
            }
            for path, type_ in parts_of(column.type):
                position += 1
                own = own if not path else {**own, "is_nullable": "YES", "column_default": None}
                yield {
                    **named(table.schema, table.name),
                    **described(column.name, path, type_),
                    "ordinal_position": position,
                    **own,
                }


def parts_of(type_: DataType, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], DataType]]:
    """The type itself, then what is known of an object's inside."""
    yield path, type_
    for name, part in type_.fields.items():
        yield from parts_of(part, (*path, name))


def described(name: str, path: tuple[str, ...], type_: DataType) -> Row:
    return {
        "table_catalog": "crate",
        "column_name": name + "".join(f"['{part}']" for part in path),
        "column_details": {"name": name, "path": list(path), "policy": type_.policy or "strict"},
        "data_type": type_.catalogue_name,
        "numeric_precision": PRECISIONS.get(type_.name, type_.precision),
        "numeric_scale": None,
        "character_maximum_length": type_.length,
    }


KEY_TYPES = typed(
    constraint_schema=TEXT, constraint_name=TEXT, table_schema=TEXT, table_name=TEXT, column_name=TEXT, ordinal_position=INT
)


def key_columns(database: Database) -> Iterator[Row]:
    for table in database.tables():
        for position, name in enumerate(table.key, 1):
            yield {
                "constraint_schema": table.schema, "constraint_name": f"{table.name}_pkey", **named(table.schema, table.name),
                "column_name": name, "ordinal_position": position,
            }  # fmt: skip


CONSTRAINT_TYPES = typed(constraint_schema=TEXT, constraint_name=TEXT, table_schema=TEXT, table_name=TEXT, constraint_type=TEXT)


def constraints(database: Database) -> Iterator[Row]:
    for table in database.tables():
        found = [(f"{table.name}_pkey", "PRIMARY KEY")] if table.key else []
        found += [(check.name, "CHECK") for check in table.checks]
        never_null = [column.name for column in table.columns.values() if not column.is_nullable or column.name in table.key]
        found += [(f"{table.schema}_{table.name}_{name}_not_null", "CHECK") for name in never_null]
        for name, kind in found:
            yield {
                "constraint_schema": table.schema, **named(table.schema, table.name),
                "constraint_name": name, "constraint_type": kind,
            }  # fmt: skip


PARTITION_TYPES = typed(
    table_schema=TEXT, table_name=TEXT, partition_ident=TEXT, values=PARTITION_VALUES, number_of_shards=INT,
    number_of_replicas=TEXT, closed=BOOLEAN, settings=OBJECT,
)  # fmt: skip


def partitions(database: Database) -> Iterator[Row]:
    for table in database.tables():
        for values in table.partitions if table.partitioned_by else ():
            yield {
                **named(table.schema, table.name), "partition_ident": "-".join(map(str, values)),
                "values": dict(zip(table.partitioned_by, values, strict=True)), "number_of_shards": table.shards,
                "number_of_replicas": str(table.settings.get("number_of_replicas", "0-1")), "closed": False,
                "settings": settings(table),
            }  # fmt: skip


def schemata(database: Database) -> Iterator[Row]:
    for name in sorted({schema for schema, _ in database.relations} | {DEFAULT_SCHEMA, *SYSTEM_SCHEMAS}):
        yield {"schema_name": name}


def views(database: Database) -> Iterator[Row]:
    for view in database.views():
        yield {**named(view.schema, view.name), "view_definition": view.text}


# ---------------------------------------------------------------- sys


def jobs(database: Database) -> Iterator[Row]:
    for job in list(database.jobs.values()):
        yield {"id": job.id, "stmt": job.stmt, "started": job.started_ms, "username": "crate"}


def nodes(_database: Database) -> Iterator[Row]:
    yield {"id": NODE_ID, "name": STORE_NAME, "version": {"number": CRATE_VERSION}, "hostname": "localhost"}


def cluster(_database: Database) -> Iterator[Row]:
    limits = {"cluster": {"max_shards_per_node": 1000}}
    yield {"id": NODE_ID, "name": STORE_NAME, "master_node": NODE_ID, "settings": limits}


SHARD_TYPES = typed(schema_name=TEXT, table_name=TEXT, partition_ident=TEXT, id=INT, primary=BOOLEAN, state=TEXT, num_docs=BIGINT)


def shards(database: Database) -> Iterator[Row]:
    for table in database.tables():
        for values, partition in table.partitions.items():
            for number in range(table.shards):
                rows = sum(table.shard_of(key) == number for key in partition.rows)
                yield {
                    "schema_name": table.schema, "table_name": table.name, "partition_ident": "-".join(map(str, values)),
                    "id": number, "primary": True, "state": "STARTED", "num_docs": rows,
                }  # fmt: skip


def health(database: Database) -> Iterator[Row]:
    for table in database.tables():
        yield {**named(table.schema, table.name), "health": "GREEN", "severity": 1, "missing_shards": 0, "partition_ident": None}


VIRTUAL: dict[Name, Virtual] = {
    ("information_schema", "tables"): (TABLE_TYPES, tables),
    ("information_schema", "columns"): (COLUMN_TYPES, columns),
    ("information_schema", "key_column_usage"): (KEY_TYPES, key_columns),
    ("information_schema", "table_constraints"): (CONSTRAINT_TYPES, constraints),
    ("information_schema", "table_partitions"): (PARTITION_TYPES, partitions),
    ("information_schema", "schemata"): (typed(schema_name=TEXT), schemata),
    ("information_schema", "views"): (typed(table_schema=TEXT, table_name=TEXT, view_definition=TEXT), views),
    ("sys", "jobs"): (typed(id=TEXT, stmt=TEXT, started=TIMESTAMP, username=TEXT), jobs),
    ("sys", "nodes"): (typed(id=TEXT, name=TEXT, version=OBJECT, hostname=TEXT), nodes),
    ("sys", "cluster"): (typed(id=TEXT, name=TEXT, master_node=TEXT, settings=OBJECT), cluster),
    ("sys", "shards"): (SHARD_TYPES, shards),
    ("sys", "health"): (
        typed(table_schema=TEXT, table_name=TEXT, health=TEXT, severity=INT, missing_shards=INT, partition_ident=TEXT),
        health,
    ),
}
