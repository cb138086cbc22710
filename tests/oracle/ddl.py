"""The DDL of the oracle's tables, made from their specs. Pure.

Each is of level ordered: with cdc_version, cdc_deleted and every other column that the worker fills by itself.
"""

from __future__ import annotations

from .tables import Spec

TYPES = {
    "bigint": "BIGINT",
    "integer": "INTEGER",
    "smallint": "SMALLINT",
    "double": "DOUBLE PRECISION",
    "boolean": "BOOLEAN",
    "text": "TEXT",
    "uuid": "TEXT",
    "word": "VARCHAR(16)",
    "cents": "NUMERIC(18, 2)",
    "wide": "NUMERIC(30, 4)",
    "ts_ms": "TIMESTAMP WITH TIME ZONE",
    "ts_iso": "TIMESTAMP WITH TIME ZONE",
    "json": "OBJECT(IGNORED)",
    "texts": "ARRAY(TEXT)",
}
# One column is of the other type that takes an instant.
SPECIAL = {("customers", "since"): "TIMESTAMP WITHOUT TIME ZONE"}
MONTH = "month TIMESTAMP WITH TIME ZONE"
CDC = (
    "cdc_version TEXT",
    "cdc_deleted BOOLEAN",
    "cdc_source_ts TIMESTAMP WITH TIME ZONE",
    "cdc_ingested_at TIMESTAMP WITH TIME ZONE",
    "cdc_topic TEXT",
    "cdc_partition INTEGER",
    "cdc_offset BIGINT",
    "cdc_op TEXT",
)


def statements(spec: Spec) -> tuple[str, str]:
    """What makes the table, and what makes the view of its rows that are not deleted."""
    name, is_split = spec.name, spec.month_from is not None
    columns = [f"{column} {SPECIAL.get((name, column)) or TYPES[kind]}" for column, kind in spec.columns]
    key = (*spec.key, "month") if is_split else spec.key
    parts = [
        *columns,
        *([MONTH] if is_split else []),
        *CDC,
        f"CONSTRAINT {name}_{spec.checked}_not_negative CHECK ({spec.checked} >= 0)",
        f"PRIMARY KEY ({', '.join(key)})",
    ]
    place = f"CLUSTERED BY ({spec.key[0]}) INTO 2 SHARDS{' PARTITIONED BY (month)' if is_split else ''}"
    table = f"CREATE TABLE IF NOT EXISTS {name} ({', '.join(parts)}) {place} WITH (number_of_replicas = 0)"
    return table, f"CREATE OR REPLACE VIEW {name}_live AS SELECT * FROM {name} WHERE cdc_deleted = false"
