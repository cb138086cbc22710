"""What the worker sends, made by the worker's own code: upserts, tombstones, patches, deletes, carries, look-ups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ingest.crate import catalogue
from ingest.crate.statements import Action, Form, Statements
from ingest.model import Change, Column, Kind, Position, Table
from tests.contract.transcripts.ask import FEB, JAN, MAR, SCHEMA, Ask

CDC = ("cdc_version", "cdc_deleted", "cdc_op")
ROW = ("total", "note", *CDC)


def table(name: str, *, month: bool, ordered: bool = True) -> Table:
    columns = [Column("id", "bigint", nullable=False), Column("total", "numeric", precision=18, scale=2), Column("note", "text")]
    if ordered:
        columns += [Column("cdc_version", "text"), Column("cdc_deleted", "boolean"), Column("cdc_op", "text")]
    if month:
        columns.append(Column("month", "timestamp with time zone", nullable=False))
    key = ("id", "month") if month else ("id",)
    named = {column.name: column for column in columns}
    return Table(SCHEMA, name, named, ("id",), "month" if month else None, primary_key=key)


def ddl(shape: Table) -> Ask:
    names = ["id BIGINT", "total NUMERIC(18, 2)", "note TEXT"]
    if "cdc_version" in shape.columns:
        names += ["cdc_version TEXT", "cdc_deleted BOOLEAN", "cdc_op TEXT"]
    if shape.month_column:
        names += ["month TIMESTAMP WITH TIME ZONE"]
    partitioned = " PARTITIONED BY (month)" if shape.month_column else ""
    key = f"PRIMARY KEY ({', '.join(shape.primary_key)})"
    return Ask(
        f"CREATE TABLE {shape.full_name} ({', '.join(names)}, {key}) CLUSTERED INTO 1 SHARDS{partitioned} WITH "
        f"(number_of_replicas = 0)"
    )


def change(kind: Kind, key: int, columns: tuple[str, ...], row: list[Any], month: int | None = None) -> Change:
    return Change(kind, (key,), month, columns, row, Position("t", 0, 0))


def send(
    shape: Table, action: Action, rows: Sequence[tuple[int, list[Any]]], form: Form, month: int | None, columns: tuple[str, ...]
) -> Ask:
    statement = Statements(shape).of(action, columns, form)
    kind = {Action.PATCH: Kind.PATCH, Action.DELETE: Kind.DELETE, Action.TOMBSTONE: Kind.DELETE}.get(action, Kind.WRITE)
    return Ask(statement.sql, bulk=[statement.parameters(change(kind, key, columns, row), month) for key, row in rows])


def written(shape: Table, *rows: tuple[int, list[Any]], form: Form = Form.REFUSE, month: int | None = None) -> Ask:
    return send(shape, Action.WRITE, rows, form, month, ROW if "cdc_version" in shape.columns else ("total", "note"))


def patched(shape: Table, *rows: tuple[int, list[Any]], form: Form = Form.REFUSE, month: int | None = None) -> Ask:
    return send(shape, Action.PATCH, rows, form, month, ("note", "cdc_version", "cdc_op"))


def entombed(shape: Table, *rows: tuple[int, list[Any]], form: Form = Form.REFUSE, month: int | None = None) -> Ask:
    return send(shape, Action.TOMBSTONE, rows, form, month, ("cdc_version", "cdc_op"))


def deleted(shape: Table, *keys: int, month: int | None = None) -> Ask:
    unordered = table(shape.name, month=shape.month_column is not None, ordered=False)  # ordered tables get tombstones only
    return send(unordered, Action.DELETE, [(key, []) for key in keys], Form.PLAIN, month, ())


def carried(shape: Table, key: int, old: int, new: int) -> Ask:
    return Ask(Statements(shape).of(Action.CARRY, (), Form.PLAIN).sql, [key, old, new])


def looked_up(shape: Table, keys: Sequence[int], months: Sequence[int] | None) -> Ask:
    return Ask(Statements(shape).look_up([(key,) for key in keys], months))


def shown(shape: Table) -> Sequence[Ask]:
    """What the table holds, after a refresh."""
    order = "id, month" if shape.month_column else "id"
    return [Ask(Statements(shape).refresh()), Ask(f"SELECT * FROM {shape.full_name} ORDER BY {order}")]


def row(total: Any, version: int, note: Any = "n", deleted: bool = False) -> list[Any]:
    return [total, note, f"{version:04}", deleted, "u"]


PLAIN, MONTHS, ARRIVAL = table("plain", month=False), table("months", month=True), table("arrival", month=False, ordered=False)

UPSERTS = [
    ddl(PLAIN),
    written(PLAIN, (1, row("10.50", 5)), (2, row("20", 5)), (3, row(None, 5, None))),
    *shown(PLAIN),
    written(PLAIN, (1, row("11.00", 6)), (2, row("21", 4)), (4, row("40", 1))),
    written(PLAIN, (1, row("11.00", 6)), (2, row("21", 4)), form=Form.KEEP),
    written(PLAIN, (1, row("0.005", 7)), (1, row("2", 6)), (1, row("3", 8))),
    *shown(PLAIN),
    entombed(PLAIN, (2, ["0009", "d"]), (3, ["0001", "d"]), (9, ["0009", "d"])),
    entombed(PLAIN, (2, ["0009", "d"]), (3, ["0001", "d"]), form=Form.KEEP),
    *shown(PLAIN),
    patched(PLAIN, (1, ["patched", "0009", "u"]), (1, ["late", "0002", "u"]), (77, ["absent", "0009", "u"])),
    patched(PLAIN, (1, ["late", "0002", "u"]), (77, ["absent", "0009", "u"]), form=Form.KEEP),
    *shown(PLAIN),
    written(PLAIN, *((key, row("1", 0)) for key in (1, 2, 4)), *((1, row("1", 1)) for _ in range(11))),
    deleted(PLAIN, 1, 1, 88),
    Ask(f"DELETE FROM {PLAIN.full_name} WHERE id = ?", [2]),
    Ask(f"DELETE FROM {PLAIN.full_name} WHERE id = ?", [2]),
    deleted(PLAIN, *range(100, 115)),
    *shown(PLAIN),
]

BY_MONTH = [
    ddl(MONTHS),
    Ask(catalogue.PARTITIONS, [[SCHEMA], ["months"]]),
    written(MONTHS, (1, row("1", 1)), (2, row("2", 1)), month=JAN),
    written(MONTHS, (1, row("1", 2)), month=FEB),
    *shown(MONTHS),
    Ask(f"{catalogue.PARTITIONS} ORDER BY values['month']", [[SCHEMA], ["months"]]),
    Ask(
        "SELECT values['month'], number_of_shards, closed FROM information_schema.table_partitions WHERE table_schema "
        "= ? AND table_name = ? "
        "ORDER BY 1",
        [SCHEMA, "months"],
    ),
    looked_up(MONTHS, [1, 2, 3], [JAN, FEB, MAR]),
    looked_up(MONTHS, [1], None),
    Ask(Statements(MONTHS).refresh(JAN)),
    Ask(Statements(MONTHS).refresh(MAR)),
    entombed(MONTHS, (1, ["0002", "d"]), month=JAN),
    deleted(MONTHS, 2, month=MAR),
    deleted(MONTHS, 2, 3, month=JAN),
    patched(MONTHS, (1, ["p", "0003", "u"]), month=MAR),
    patched(MONTHS, (1, ["p", "0003", "u"]), (5, ["p", "0003", "u"]), month=FEB),
    carried(MONTHS, 1, FEB, MAR),
    carried(MONTHS, 1, FEB, MAR),
    carried(MONTHS, 1, JAN, MAR),
    carried(MONTHS, 8, FEB, MAR),
    *shown(MONTHS),
    Ask(f"INSERT INTO {MONTHS.full_name} (id, month) VALUES (?, ?) ON CONFLICT (id) DO NOTHING", bulk=[[1, JAN]]),
    Ask(f"UPDATE {MONTHS.full_name} SET month = ? WHERE id = ? AND month = ?", bulk=[[JAN, 1, FEB]]),
    Ask(f"DELETE FROM {MONTHS.full_name} WHERE month = ?", bulk=[[JAN]]),
    Ask(f"DELETE FROM {MONTHS.full_name} WHERE month = {JAN}"),
    *shown(MONTHS),
    Ask(f"INSERT INTO {MONTHS.full_name} (id, month) VALUES (?, ?)", bulk=[[1, None]]),
    Ask(f"DELETE FROM {MONTHS.full_name} WHERE id = ? AND month = ?", bulk=[[1, None]]),
]

ARRIVALS = [
    ddl(ARRIVAL),
    written(ARRIVAL, (1, ["1", "a"]), (2, ["2", "b"])),
    written(ARRIVAL, (1, ["3", None])),
    *shown(ARRIVAL),
    Ask(f"INSERT INTO {ARRIVAL.full_name} (id, total) VALUES (?, ?)", bulk=[[1, 1], [5, 5], [5, 6]]),
    Ask(f"INSERT INTO {ARRIVAL.full_name} (id, total) VALUES (?, ?)", [1, 1]),
    Ask(f"INSERT INTO {ARRIVAL.full_name} (id, total) VALUES (?, ?) ON CONFLICT (id) DO NOTHING", bulk=[[1, 1], [6, 6]]),
    Ask(f"INSERT INTO {ARRIVAL.full_name} (id, total) VALUES (?, ?) ON CONFLICT (id) DO NOTHING", [1, 1]),
    Ask(f"INSERT INTO {ARRIVAL.full_name} (id, total) VALUES (7, 7), (8, 8)"),
    Ask(f"UPDATE {ARRIVAL.full_name} SET note = 'z' WHERE id = 7"),
    Ask(f"UPDATE {ARRIVAL.full_name} SET note = 'z' WHERE id = 70"),
    *shown(ARRIVAL),
]
