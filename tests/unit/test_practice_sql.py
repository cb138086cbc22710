"""The practice store's SQL without HTTP: what no transcript asks, and what it refuses because it is for practice."""

from __future__ import annotations

import doctest
from typing import Any

import pytest

from ingest.practice.store import Refusal, Store, expressions, functions, keys, lexer, parser, syntax
from ingest.practice.store.statements import parse
from ingest.practice.store.types import DataType, caster


@pytest.fixture
def store() -> Store:
    """Not started: statements go to its engine directly."""
    store = Store()
    store.execute("CREATE TABLE t (id BIGINT PRIMARY KEY, a INTEGER, b TEXT, o OBJECT(DYNAMIC) AS (x INTEGER), l ARRAY(INTEGER))")
    rows = [[1, 10, "one", {"x": 1, "y": "free"}, [1, 2]], [2, 20, "two", None, None], [3, None, None, {}, []]]
    store.execute("INSERT INTO t (id, a, b, o, l) VALUES (?, ?, ?, ?, ?)", bulk_args=rows)
    return store


def value(store: Store, expression: str, where: str = "id = 1") -> Any:
    return store.execute(f"SELECT {expression} FROM t WHERE {where}")["rows"][0][0]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("NULL AND FALSE", False),
        ("NULL AND TRUE", None),
        ("NULL OR TRUE", True),
        ("NOT NULL", None),
        ("a = NULL", None),
        ("a IN (10, NULL)", True),
        ("a IN (11, NULL)", None),
        ("a NOT IN (11, 12)", True),
        ("11 = ANY([10, NULL])", None),
        ("b LIKE '_ne'", True),
        ("b NOT LIKE 'o%' OR b ILIKE 'O%'", True),
        ("CASE a WHEN 10 THEN 'ten' END", "ten"),
        ("CASE WHEN a > 10 THEN 1 END", None),
        ("-7 / 2", -3),
        ("-7 % 2", -1),
        ("7 / 2.0", 3.5),
        ("2 + 3 * 4 - 1", 13),
        ("(2 + 3) * 4", 20),
        ("'1'::integer + 1", 2),
        ("try_cast('x' AS INTEGER)", None),
        ("o['x']", 1),
        ("o['y']", "free"),
        ("l[2]", 2),
        ("l[3]", None),
        ("coalesce(NULL, a, 1)", 10),
        ("nullif(a, 10)", None),
        ("greatest(1, NULL, 3)", 3),
        ("substr(b, 2)", "ne"),
        ("substr(b, 1, 2) || '!'", "on!"),
        ("b || NULL", None),
        ("round(2.5)", 3),
        ("date_trunc('week', '2024-01-17T10:00:00Z'::timestamp)", 1705276800000),
        ("date_trunc('quarter', '2024-05-17'::timestamp)", 1711929600000),
        ("'2024-01-01'::timestamp = 1704067200000", True),
        ("a BETWEEN 5 AND 10", True),
        ('"a"', 10),
        ("t.a", 10),
    ],
)
def test_expressions_follow_three_valued_logic_and_types(store: Store, expression: str, expected: Any) -> None:
    assert expected == value(store, expression)


def test_a_value_of_a_row_that_cannot_be_cast_refuses_the_query(store: Store) -> None:
    with pytest.raises(Refusal, match="Cannot cast value `one`"):
        value(store, "b::integer")


def test_a_parameter_may_be_null(store: Store) -> None:
    assert [[None]] == store.execute("SELECT $1 = 'x' FROM t WHERE id = 1", [None])["rows"]


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM t AS a, t AS b",
        "SELECT * FROM t JOIN t AS u ON t.id = u.id",
        "SELECT 1 UNION ALL SELECT 2",
        "SELECT * FROM unnest([1])",
        "SELECT * FROM t WHERE id IN (SELECT id FROM t)",
        "WITH x AS (SELECT 1) SELECT * FROM x",
        "COPY t FROM '/tmp/x'",
        "UPDATE t SET o['x'] = 1",
        "INSERT INTO t (id) VALUES (9) RETURNING id",
        "CREATE FUNCTION f() RETURNS INTEGER LANGUAGE JAVASCRIPT AS 'x'",
        "EXPLAIN SELECT 1",
    ],
)
def test_what_is_beyond_the_store_is_refused_and_says_that_it_is_for_practice(store: Store, statement: str) -> None:
    with pytest.raises(Refusal, match="ingest practice store") as refused:
        store.execute(statement)
    assert (400, 4004) == (refused.value.status, refused.value.code)


@pytest.mark.parametrize(
    "statement", ["", "SELECT", "SELECT 1 FROM", "INSERT INTO t VALUES", "SELECT 'open", "DELETE t", "SELECT (1"]
)
def test_what_is_no_sql_is_a_syntax_error(statement: str) -> None:
    with pytest.raises(Refusal, match=r"ParsingException\[line 1:") as refused:
        parse(statement)
    assert 4000 == refused.value.code


def test_comments_are_passed_over(store: Store) -> None:
    assert [[1]] == store.execute("/* ingest g t/0 7 */ SELECT -- all\n count(*) FROM t WHERE id = 1 /* it */;")["rows"]


def test_a_key_look_up_gives_each_row_once(store: Store) -> None:
    rows = store.execute("SELECT id FROM t WHERE id IN (3, 1, 1, 9, NULL) AND (a = 10 OR a IS NULL)")["rows"]
    assert [[3], [1]] == rows


def test_groups_know_empty_tables_and_lists(store: Store) -> None:
    assert [[0, None]] == store.execute("SELECT count(*), max(a) FROM t WHERE id = 9")["rows"]
    assert [] == store.execute("SELECT b, count(*) FROM t WHERE id = 9 GROUP BY b")["rows"]
    rows = store.execute("SELECT l, count(*) AS n FROM t GROUP BY l ORDER BY n, l[1] NULLS LAST LIMIT 1")["rows"]
    assert [[[1, 2], 1]] == rows


def test_an_order_may_put_nulls_first(store: Store) -> None:
    assert [[3], [1], [2]] == store.execute("SELECT id FROM t ORDER BY a NULLS FIRST")["rows"]


def test_rows_without_a_primary_key_are_all_kept() -> None:
    store = Store()
    store.execute("CREATE TABLE log (line TEXT)")
    store.execute("INSERT INTO log (line) VALUES (?)", bulk_args=[["same"], ["same"]])
    assert [{"line": "same"}] * 2 == store.tables["doc.log"]


def test_failures_are_explained_ten_times_per_shard() -> None:
    store = Store()
    store.execute("CREATE TABLE many (id BIGINT PRIMARY KEY, n TEXT NOT NULL) CLUSTERED INTO 4 SHARDS")
    results = store.execute("INSERT INTO many (id, n) VALUES (?, ?)", bulk_args=[[i, None] for i in range(400)])["results"]
    assert ([-2] * 400, 40) == ([one["rowcount"] for one in results], sum("error" in one for one in results))


def test_a_refused_request_leaves_nothing_behind(store: Store) -> None:
    before = store.tables
    for bulk in ([[9, 1], [10, "x"]], [[9, 1], [None, 1]], [[9, 1], [10]]):
        with pytest.raises(Refusal):
            store.execute("INSERT INTO t (id, a) VALUES (?, ?)", bulk_args=bulk)
    assert before == store.tables


def test_a_generated_column_that_is_given_must_be_right() -> None:
    store = Store()
    store.execute("CREATE TABLE g (id BIGINT PRIMARY KEY, twice BIGINT GENERATED ALWAYS AS id * 2)")
    store.execute("INSERT INTO g (id, twice) VALUES (1, 2)")
    with pytest.raises(Refusal, match="does not match"):
        store.execute("INSERT INTO g (id, twice) VALUES (2, 2)")
    with pytest.raises(Refusal, match="generated column"):
        store.execute("UPDATE g SET twice = 3 WHERE id = 1")


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("CREATE TABLE n (d DATE)", 4004),
        ("CREATE TABLE n (d NOSUCHTYPE)", 4000),
        ("CREATE TABLE n (a TEXT, a TEXT)", 4000),
        ("CREATE TABLE n (a TEXT, PRIMARY KEY (b))", 4043),
        ("CREATE TABLE n (a TEXT PRIMARY KEY, m BIGINT) PARTITIONED BY (m)", 4000),
        ("CREATE VIEW v AS SELECT nothing FROM t", 4043),
        ("DROP VIEW t", 4041),
        ("ALTER TABLE t DROP COLUMN id", 4004),
        ("ALTER TABLE t RENAME TO t", 4000),
        ("SELECT 1 / 0", 4000),
        ("SELECT id FROM t ORDER BY 2", 4000),
    ],
)
def test_a_definition_that_cannot_be_is_refused(store: Store, statement: str, code: int) -> None:
    with pytest.raises(Refusal) as refused:
        store.execute(statement)
    assert code == refused.value.code


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("smallint", 4294967297, 1),
        ("bigint", 2**64 + 5, 5),
        ("real", 0.1, 0.1),
        ("real", "1e39", float("inf")),
        ("timestamp with time zone", 1.5, 1500),
        ("timestamp with time zone", "2024-01-15 10:00:00-05", 1705330800000),
        ("timestamp without time zone", "2024-01-15T10:00:00-05:00", 1705312800000),
        ("geo_point", "POINT(1 2)", [1.0, 2.0]),
        ("geo_shape", {"type": "Point"}, {"type": "Point"}),
    ],
)
def test_values_are_cast_as_crate_does_it_also_where_that_surprises(name: str, value: Any, expected: Any) -> None:
    assert expected == caster(DataType(name))(value)


@pytest.mark.parametrize("module", [lexer, parser, syntax, expressions, functions, keys])
def test_the_examples_in_the_docstrings_run(module: Any) -> None:
    assert 0 == doctest.testmod(module).failed
