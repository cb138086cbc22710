"""Values that CrateDB takes, values and rows that it refuses, and how."""

from __future__ import annotations

from typing import Any

from tests.contract.transcripts.ask import JAN, LONG_TEXT, SCHEMA, Ask

TYPED = f"{SCHEMA}.typed"
TYPES = {
    "b": "BOOLEAN",
    "s": "SMALLINT",
    "i": "INTEGER",
    "l": "BIGINT",
    "r": "REAL",
    "d": "DOUBLE PRECISION",
    "n": "NUMERIC(10, 2)",
    "t": "TEXT",
    "v": "VARCHAR(3)",
    "ts": "TIMESTAMP WITH TIME ZONE",
    "tn": "TIMESTAMP WITHOUT TIME ZONE",
    "o": "OBJECT(IGNORED)",
    "a": "ARRAY(INTEGER)",
    "u": "UUID",
    "ip": "IP",
    "g": "GEO_POINT",
    "bt": "BIT(4)",
    "fv": "FLOAT_VECTOR(2)",
}


def valued(column: str, *values: Any) -> Ask:
    return Ask(
        f"INSERT INTO {TYPED} (id, {column}) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET {column} = excluded.{column}",
        bulk=[[1, value] for value in values],
    )


def answered(column: str) -> Ask:
    return Ask(f"SELECT {column} FROM {TYPED} WHERE id = 1")


ACCEPTED: dict[str, list[Any]] = {
    "b": [True, "t", "false", 0, 2, None],
    "s": [1, "7", 1.9],
    "i": [5, 1.9, "12"],
    "l": ["9223372036854775806", 2**64 - 1],
    "r": [1.1, "NaN", "2"],
    "d": [1.1, "Infinity", 3, "0.1"],
    "n": ["1.005", 2.5, "1E5", 7],
    "t": ["a", 1.50, True, {"a": 1}],
    "v": ["abc", "ab   "],
    "ts": [0, "2024-01-15", "2024-01-15T10:00:00.123456Z", "2024-01-15T10:00:00+0200", "86400000"],
    "tn": ["2024-01-15T10:00:00+02:00"],
    "o": [{"a": {"b": 1}}, '{"c": 2}', {}],
    "a": [[1, None, 3.9], [], "{1,2}"],
    "u": ["A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"],
    "ip": ["10.0.0.1", "::1"],
    "g": [[1.5, 2.5], "POINT (3 4)"],
    "bt": ["0101"],
    "fv": [[1.5, 2.5]],
}
REFUSED: dict[str, list[Any]] = {
    "b": ["maybe"],
    "s": [65537],
    "i": ["1.9", "abc", 2**31, True],
    "l": ["x", [1]],
    "n": ["NaN", "123456789.00"],
    "t": [["a"]],
    "ts": ["infinity", "2024-02-30"],
    "o": [5, "text"],
    "a": [["x"], 5],
    "u": ["zz"],
    "ip": ["10.0.0.0/8"],
    "g": [[181, 0], {"lat": 1}],
    "fv": [["a", "b"]],
}
REFUSED_ALONE: dict[str, list[Any]] = {"l": [2**63, -(2**63)], "v": ["abcd"], "t": [LONG_TEXT], "bt": ["01"], "fv": [[1.0]]}

TYPED_COLUMNS = ", ".join(f"{name} {type_}" for name, type_ in TYPES.items())
VALUES = [
    Ask(f"CREATE TABLE {TYPED} (id BIGINT PRIMARY KEY, {TYPED_COLUMNS}) CLUSTERED INTO 1 SHARDS"),
    *(ask for column, values in ACCEPTED.items() for value in values for ask in (valued(column, value), answered(column))),
    *(valued(column, value) for column, values in REFUSED.items() for value in values),
    *(valued(column, value) for column, values in REFUSED_ALONE.items() for value in values),
    Ask(f"REFRESH TABLE {TYPED}"),
    Ask(f"SELECT id, b, s, i, l, r, n, t, v, ts, o, a, u, ip, bt FROM {TYPED}"),
]

CHECKED = f"{SCHEMA}.checked"
FAULTS = [
    Ask(
        f"CREATE TABLE {CHECKED} (id BIGINT PRIMARY KEY, name TEXT NOT NULL, amount INTEGER CHECK (amount >= 0), "
        "short VARCHAR(3)) CLUSTERED INTO 1 SHARDS"
    ),
    Ask(
        f"INSERT INTO {CHECKED} (id, name, amount) VALUES (?, ?, ?)",
        bulk=[[1, "a", 1], [2, None, 1], [3, "c", -1], [1, "d", 1], [4, LONG_TEXT, 1]],
    ),
    Ask(f"INSERT INTO {CHECKED} (id, name) VALUES (?, ?)", bulk=[[key, None] for key in range(100, 115)]),
    Ask(f"INSERT INTO {CHECKED} (id, name, amount) VALUES (?, ?, ?)", bulk=[[10, "a", 1], [11, "b", "many"]]),
    Ask(f"INSERT INTO {CHECKED} (id, name) VALUES (?, ?)", bulk=[[10, "a"], [None, "b"]]),
    Ask(f"INSERT INTO {CHECKED} (id, name) VALUES (?, ?)", bulk=[[10, "a"], [11]]),
    Ask(f"INSERT INTO {CHECKED} (id, name) VALUES (?, ?)", bulk=[[10, "a", "surplus"]]),
    Ask(f"INSERT INTO {CHECKED} (id, name) VALUES (?, ?)", bulk=[]),
    Ask(f"INSERT INTO {CHECKED} (id, name) VALUES (?, ?)", [12, None]),
    Ask(
        f"INSERT INTO {CHECKED} (id, name) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET name = excluded.name",
        bulk=[[1, None], [1, "w"]],
    ),
    Ask(f"INSERT INTO {CHECKED} (id, name) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET name = excluded.name", bulk=[[1, "x"]]),
    Ask(f"INSERT INTO {CHECKED} (id, name) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET id = excluded.id", bulk=[[1, "x"]]),
    Ask(f"INSERT INTO {CHECKED} (id, colour) VALUES (?, ?)", bulk=[[1, "x"]]),
    Ask(f"SELECT colour FROM {CHECKED}"),
    Ask(f"INSERT INTO {SCHEMA}.nowhere (id) VALUES (?)", bulk=[[1]]),
    Ask("SELECT * FROM no_such_schema.nowhere"),
    Ask(f"DELETE FROM {SCHEMA}.nowhere WHERE id = ?", bulk=[[1]]),
    Ask(f"REFRESH TABLE {SCHEMA}.nowhere"),
    Ask(f"UPDATE {CHECKED} SET id = 5 WHERE id = 1"),
    Ask(f"UPDATE {CHECKED} SET amount = ? WHERE id = ?", bulk=[[5, 1], [-5, 1], [5, 99]]),
    Ask(f"UPDATE {CHECKED} SET amount = ? WHERE id = ?", bulk=[["many", 1]]),
    Ask("SELEC 1"),
    Ask("SELECT 1; SELECT 2"),
    Ask(f"INSERT INTO {CHECKED} (id, name) VALUES (?)", bulk=[[1]]),
    Ask(f"INSERT INTO {CHECKED} (id, name, amount) VALUES (60, 'a', 1), (61, 'b', -1), (62, 'c', 1)"),
    Ask(f"INSERT INTO {CHECKED} (id, name, amount) VALUES (60, 'a', 1), (63, 'b', 'x')"),
    Ask("SELECT no_such_function(1)"),
    Ask(f"SELECT other.id FROM {CHECKED}"),
    Ask(f'ALTER TABLE {CHECKED} SET ("blocks.read_only" = true)'),
    Ask(f"INSERT INTO {CHECKED} (id, name) VALUES (?, ?)", bulk=[[50, "a"]]),
    Ask(f"DELETE FROM {CHECKED} WHERE id = ?", bulk=[[1]]),
    Ask(f"UPDATE {CHECKED} SET name = ? WHERE id = ?", bulk=[["a", 1]]),
    Ask(f'ALTER TABLE {CHECKED} SET ("blocks.read_only" = false)'),
    Ask(f"REFRESH TABLE {CHECKED}"),
    Ask(f"SELECT * FROM {CHECKED} ORDER BY id"),
]

NEW_MONTH = [
    Ask(
        f"CREATE TABLE {SCHEMA}.fresh (id BIGINT, month TIMESTAMP WITH TIME ZONE, name TEXT NOT NULL, PRIMARY KEY (id, month)) "
        "CLUSTERED INTO 1 SHARDS PARTITIONED BY (month)"
    ),
    Ask(f"INSERT INTO {SCHEMA}.fresh (id, month, name) VALUES (?, ?, ?)", bulk=[[1, JAN, "a"], [2, JAN, None]]),
    Ask(f"SELECT count(*) FROM information_schema.table_partitions WHERE table_name = 'fresh' AND table_schema = '{SCHEMA}'"),
    Ask(f"INSERT INTO {SCHEMA}.fresh (id, month, name) VALUES (?, ?, ?)", bulk=[[1, JAN, "a"], [2, JAN, LONG_TEXT]]),
    Ask(f"INSERT INTO {SCHEMA}.fresh (id, month, name) VALUES (?, ?, ?)", bulk=[[3, JAN, None], [4, JAN, "d"]]),
    Ask(f"REFRESH TABLE {SCHEMA}.fresh"),
    Ask(f"SELECT id, month, name FROM {SCHEMA}.fresh ORDER BY id"),
]
