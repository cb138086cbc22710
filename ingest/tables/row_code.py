"""Functions written for one shape of record: a call per record instead of a loop over readings with a call per value.

The text of each is small and plain; `source_of` shows it:

    def values(record):
        at = 0
        try:
            v0 = record['id']
            if not (type(v0) is int and -9 <= v0 <= 9) and v0 is not None: at = 0; v0 = convert0(v0)
            v1 = record['note']
            if type(v1) is not passes1 and v1 is not None: at = 1; v1 = convert1(v1)
        except Reject as reject:
            raise inside(names[at], reject) from None
        return [v0, v1]

Names of fields stand in it as literals of Python, whatever they hold; all else has names of our own.
Pure; touched by the loop's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ingest.errors import Reject
from ingest.model import Envelope, Fields, Record
from ingest.tables.reading import Never, Reading, inside
from ingest.tables.system_columns import SYSTEM_ARGUMENTS, SYSTEM_VALUES

Values = Callable[[Fields], list[Any]]
SystemValues = Callable[[Envelope, Record, int, "str | None", bool, "dict[str, Any] | None"], list[Any]]


def compile_values(
    names: Sequence[str], fields: Sequence[str | None], readings: Sequence[Reading], required: Iterable[int]
) -> Values:
    """A function from a record that has all these fields to the values of the columns, None for those without a field.

    It raises Reject with the column's name: what a reading raises, or value.null for a column in `required`.
    """
    known: dict[str, Any] = {"Reject": Reject, "inside": inside, "names": tuple(names), "null": null_refused}
    for number, found in enumerate(readings):
        known[f"convert{number}"], known[f"passes{number}"] = found.convert, found.passes
    return function(source_of(fields, readings, required), "values", known)  # type: ignore[no-any-return]


def compile_system(columns: Sequence[str]) -> SystemValues:
    """A function that makes the values of these cdc_* columns: 0.1 µs for two; making all nine and picking took 0.4."""
    values = ", ".join(SYSTEM_VALUES[name] for name in columns)
    return function(f"def values({SYSTEM_ARGUMENTS}):\n    return [{values}]", "values", {})  # type: ignore[no-any-return]


def function(source: str, name: str, known: dict[str, Any]) -> Any:
    """The function of that name in a text made by this module's callers, never by a record or a setting."""
    exec(compile(source, f"<{name}>", "exec"), known)
    return known[name]


def source_of(fields: Sequence[str | None], readings: Sequence[Reading], required: Iterable[int]) -> str:
    """The text of the function.

    >>> print(source_of(["id"], [Reading(str, str)], [0]))
    def values(record):
        at = 0
        try:
            v0 = record['id']
            if type(v0) is not passes0 and v0 is not None: at = 0; v0 = convert0(v0)
            if v0 is None: at = 0; raise null()
        except Reject as reject:
            raise inside(names[at], reject) from None
        return [v0]
    """
    lines = [line for number, field in enumerate(fields) if field is not None for line in _lines(number, field, readings[number])]
    lines += [f"if {_variable(number, fields)} is None: at = {number}; raise null()" for number in required]
    row = ", ".join(_variable(number, fields) for number in range(len(fields)))
    body = "".join(f"        {line}\n" for line in lines or ["pass"])
    return f"""def values(record):
    at = 0
    try:
{body}    except Reject as reject:
        raise inside(names[at], reject) from None
    return [{row}]"""


def _variable(number: int, fields: Sequence[str | None]) -> str:
    return "None" if fields[number] is None else f"v{number}"


def _lines(number: int, field: str, found: Reading) -> Iterable[str]:
    value = f"v{number}"
    yield f"{value} = record[{field!a}]"
    call = f"{value} is not None: at = {number}; {value} = convert{number}({value})"
    quick = found.quick
    if quick is None:
        yield f"if {call}" if found.passes is Never else f"if type({value}) is not passes{number} and {call}"
        return
    is_usual = f"type({value}) is {quick.type.__name__} and {quick.low!r} <= {value} <= {quick.high!r}"
    if quick.ticks == 1:
        yield f"if not ({is_usual}) and {call}"
    else:
        yield f"if {is_usual}: {value} //= {quick.ticks}"
        yield f"elif {call}"


def null_refused() -> Reject:
    return Reject("value.null", "the column is NOT NULL and the record has no value for it")
