"""The text of every statement, word for word: the embedded store and CrateDB both read exactly these."""

from __future__ import annotations

import doctest
from dataclasses import replace

import pytest

from ingest.crate import catalogue, sql_files, statements
from ingest.crate.statements import Action, Form, Statements
from ingest.model import Change, Column, Kind, Position, Table

JAN = 1704067200000
CDC = ("cdc_version", "cdc_deleted")
AT = Position("orders", 0, 7)
GUARD = (
    '"cdc_version" = CASE WHEN {v} < "cdc_version" THEN CAST(CAST(\'stale \' || "cdc_version" AS INTEGER) AS TEXT) ELSE {v} END'
)


def table(*names: str, key: tuple[str, ...] = ("id",), months: bool = True, generated: bool = False) -> Table:
    columns = {name: Column(name, "bigint", nullable=False) for name in key}
    if months:
        columns["month"] = Column("month", "timestamp with time zone", generated=generated, keys=("at",) if generated else ())
    columns |= {name: Column(name, "text") for name in names}
    return Table(
        "doc",
        "orders",
        columns,
        key,
        "month" if months else None,
        primary_key=(*key, "month") if months else key,
        generated_month=generated,
    )


ORDERED = Statements(table("a", *CDC))
EXCLUDED = 'excluded."cdc_version"'


def test_a_guarded_upsert_refuses_in_one_expression() -> None:
    assert (
        'INSERT INTO "doc"."orders" ("id", "month", "a", "cdc_version", "cdc_deleted") VALUES (?, ?, ?, ?, ?) '
        'ON CONFLICT ("id", "month") DO UPDATE SET "a" = excluded."a", '
        f'{GUARD.format(v=EXCLUDED)}, "cdc_deleted" = excluded."cdc_deleted"'
    ) == ORDERED.of(Action.WRITE, ("a", *CDC), Form.REFUSE).sql


def test_a_row_without_cdc_deleted_is_alive() -> None:
    sql = ORDERED.of(Action.WRITE, ("a", "cdc_version"), Form.REFUSE).sql
    assert '("id", "month", "a", "cdc_version", "cdc_deleted") VALUES (?, ?, ?, ?, FALSE)' in sql
    assert '"cdc_deleted" = excluded."cdc_deleted"' in sql


def test_the_keeping_form_guards_every_column() -> None:
    sql = ORDERED.of(Action.WRITE, ("a", *CDC), Form.KEEP).sql
    assert [
        f'"{name}" = CASE WHEN {EXCLUDED} < "cdc_version" THEN "{name}" ELSE excluded."{name}" END' for name in ("a", *CDC)
    ] == sql.partition(" SET ")[2].split(", ")


def test_a_tombstone_empties_every_column_and_never_takes_extra_fields_along() -> None:
    built = Statements(table("a", "b", "cdc_op", "cdc_extra", *CDC))
    columns = ("a", "cdc_op", "cdc_extra", *CDC)
    statement = built.of(Action.TOMBSTONE, columns, Form.REFUSE)
    assert (
        'INSERT INTO "doc"."orders" ("id", "month", "cdc_op", "cdc_version", "cdc_deleted") VALUES (?, ?, ?, ?, TRUE) '
        'ON CONFLICT ("id", "month") DO UPDATE SET "a" = NULL, "b" = NULL, "cdc_op" = excluded."cdc_op", "cdc_extra" = NULL, '
        f'{GUARD.format(v=EXCLUDED)}, "cdc_deleted" = TRUE'
    ) == statement.sql
    change = Change(Kind.WRITE, (1,), JAN, columns, ["secret", "u", {"x": "secret"}, "05", False], AT, version="05")
    assert [1, JAN, "u", "05"] == statement.parameters(change, JAN)


def test_a_patch_is_an_update_by_full_key_with_the_same_guard() -> None:
    assert (
        f'UPDATE "doc"."orders" SET "a" = $3, {GUARD.format(v="$4")}, "cdc_deleted" = $5 WHERE "id" = $1 AND "month" = $2'
    ) == ORDERED.of(Action.PATCH, ("a", *CDC), Form.REFUSE).sql


def test_an_object_is_patched_in_a_way_that_allows_any_key() -> None:
    built = table("o", *CDC)
    built = replace(built, columns={**built.columns, "o": Column("o", "object", policy="ignored")})
    sql = Statements(built).of(Action.PATCH, ("o", *CDC), Form.REFUSE).sql
    assert 'SET "o" = CASE WHEN TRUE THEN $3 ELSE "o" END, ' in sql


def test_level_arrival_knows_no_guard_whatever_the_form() -> None:
    plain = Statements(table("a"))
    sql = (
        'INSERT INTO "doc"."orders" ("id", "month", "a") VALUES (?, ?, ?) '
        'ON CONFLICT ("id", "month") DO UPDATE SET "a" = excluded."a"'
    )
    assert {sql} == {plain.of(Action.WRITE, ("a",), form).sql for form in Form}
    assert 'DELETE FROM "doc"."orders" WHERE "id" = $1 AND "month" = $2' == plain.of(Action.DELETE, (), Form.PLAIN).sql
    assert 'UPDATE "doc"."orders" SET "a" = $3 WHERE "id" = $1 AND "month" = $2' == plain.of(Action.PATCH, ("a",), Form.KEEP).sql


def test_a_table_of_key_columns_does_nothing_on_conflict() -> None:
    statement = Statements(table()).of(Action.WRITE, (), Form.PLAIN)
    assert statement.sql.endswith('ON CONFLICT ("id", "month") DO NOTHING')
    assert statement.ignores_conflict


def test_a_generated_month_is_in_the_target_only_and_its_source_is_never_updated() -> None:
    built = Statements(table("at", "a", *CDC, generated=True))
    write = built.of(Action.WRITE, ("at", "a", *CDC), Form.REFUSE)
    assert '("id", "at", "a", "cdc_version", "cdc_deleted") VALUES (?, ?, ?, ?, ?) ON CONFLICT ("id", "month")' in write.sql
    assert '"at" = ' not in write.sql
    change = Change(Kind.WRITE, (1,), JAN, ("at", "a", *CDC), [JAN + 5, "x", "05", False], AT, version="05")
    assert [1, JAN + 5, "x", "05", False] == write.parameters(change, JAN)
    tombstone = built.of(Action.TOMBSTONE, ("at", "a", *CDC), Form.REFUSE)
    assert '("id", "at", "cdc_version", "cdc_deleted") VALUES (?, ?, ?, TRUE)' in tombstone.sql
    assert [1, JAN, "05"] == tombstone.parameters(change, JAN)


def test_a_carry_copies_the_live_row_under_its_own_version() -> None:
    assert (
        'INSERT INTO "doc"."orders" ("id", "month", "a", "cdc_version", "cdc_deleted") '
        '(SELECT "id", $3::timestamp with time zone, "a", "cdc_version", "cdc_deleted" FROM "doc"."orders" '
        'WHERE "id" = $1 AND "month" = $2 AND "cdc_deleted" = FALSE) ON CONFLICT ("id", "month") DO UPDATE SET '
    ) == ORDERED.of(Action.CARRY, (), Form.PLAIN).sql.partition('"a" = CASE')[0]
    assert Statements(table("a")).of(Action.CARRY, (), Form.PLAIN).sql.endswith('"month" = $2) ON CONFLICT DO NOTHING')


def test_look_ups_and_refreshes_use_literals() -> None:
    assert (
        'SELECT "id", "month", "cdc_deleted", "cdc_version" FROM "doc"."orders" WHERE "id" IN (1, 2) AND "month" IN (5)'
        == ORDERED.look_up([(1,), ("2",), (1,)], [5])
    )
    assert f'REFRESH TABLE "doc"."orders" PARTITION ("month" = {JAN})' == ORDERED.refresh(JAN)
    assert 'REFRESH TABLE "doc"."orders"' == ORDERED.refresh()


def test_every_name_is_quoted() -> None:
    odd = 'a "b" , c'
    sql = Statements(table(odd)).of(Action.WRITE, (odd,), Form.PLAIN).sql
    assert '"a ""b"" , c" = excluded."a ""b"" , c"' in sql


def test_a_statement_is_built_once_per_shape() -> None:
    columns = ("a", *CDC)
    assert ORDERED.of(Action.WRITE, columns, Form.REFUSE) is ORDERED.of(Action.WRITE, ("a", *CDC), Form.REFUSE)


@pytest.mark.parametrize("row", [["x", "05"], ["x", "05", False, "more"]], ids=["short", "long"])
def test_a_row_of_another_width_is_a_bug_that_shows(row: list[object]) -> None:
    change = Change(Kind.WRITE, (1,), JAN, ("a", *CDC), row, AT, version="05")
    with pytest.raises(ValueError, match=r"orders\[0\]@7"):
        ORDERED.of(Action.WRITE, ("a", *CDC), Form.REFUSE).parameters(change, JAN)


def test_an_ordered_write_without_a_version_column_is_a_bug_that_shows() -> None:
    with pytest.raises(ValueError, match="no cdc_version"):
        ORDERED.of(Action.WRITE, ("a",), Form.REFUSE)


@pytest.mark.parametrize("module", [statements, catalogue, sql_files], ids=lambda module: module.__name__)
def test_the_examples_in_docstrings_hold(module: object) -> None:
    result = doctest.testmod(module)  # type: ignore[arg-type]
    assert (0, True) == (result.failed, result.attempted > 0)


def test_numeric_digits_are_read_from_show_create_table() -> None:
    text = (
        'CREATE TABLE "d"."t" (\n   "a" NUMERIC(38, 10) DEFAULT 0 NOT NULL,\n   "b ""q""" ARRAY(ARRAY(NUMERIC(10, 2))),\n'
        '   "c" NUMERIC(5),\n   "o" OBJECT(STRICT) AS (\n      "z" NUMERIC(7, 1)\n   )\n)'
    )
    assert {("a",): (38, 10), ('b "q"',): (10, 2), ("c",): (5, 0), ("o", "z"): (7, 1)} == catalogue.numeric_digits(text)


def test_checksums_see_neither_comments_nor_blanks_but_everything_else() -> None:
    one = sql_files.checksum("CREATE TABLE a (x TEXT DEFAULT ' --  y') -- why\n")
    assert one == sql_files.checksum("CREATE /* really */ TABLE a\n\n(x TEXT DEFAULT ' --  y')")
    assert one != sql_files.checksum("CREATE TABLE a (x TEXT DEFAULT ' -- y')")


def test_a_file_is_split_into_statements_that_know_what_they_declare() -> None:
    text = (
        '-- one; two\nCREATE TABLE IF NOT EXISTS doc."My Orders" (id INT PRIMARY KEY, "N n" NUMERIC(10, 2), '
        "o OBJECT AS (x INT),\n"
        "  at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, PRIMARY KEY (id));\n"
        "ALTER TABLE a ADD COLUMN b VARCHAR, ADD COLUMN c ARRAY(STRING);"
    )
    create, alter = sql_files.split("0001_a.sql", text)
    assert ("create", 'doc."My Orders"', 1) == (create.kind, create.relation, create.number)
    assert {"id": "integer", "N n": "numeric(10,2)", "o": "object", "at": "timestampwithouttimezone"} == create.columns
    assert ("alter", "a", {"b": "text", "c": "array(text)"}) == (alter.kind, alter.relation, alter.columns)


@pytest.mark.parametrize("text", ["", "-- only a comment\n", "/* nothing */ "])
def test_a_file_without_statements_is_empty(text: str) -> None:
    assert [] == list(sql_files.split("0001_a.sql", text))
