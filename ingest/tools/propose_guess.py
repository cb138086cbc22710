"""A column for a field whose type nobody declares: by its values and its name, and a remark where that is a guess. Pure."""

from __future__ import annotations

import re
from typing import Final

from ingest.model import Column, SourceType
from ingest.tables import declared_columns as columns
from ingest.tables.declared_columns import Choice
from ingest.tables.numbers import BIGINT_MAX, BIGINT_MIN, NUMERIC_MAX_DIGITS
from ingest.tables.types import fits
from ingest.tools import propose_types as types
from ingest.tools.propose_values import (
    BASE64,
    BOOL,
    BYTES,
    CUT,
    DATE,
    DIGITS,
    INT,
    LIST,
    MOMENT,
    NOT_FINITE,
    NUMBER,
    OBJECT,
    ODD,
    TEXT,
    ZONED,
    Field,
    Values,
)

TIME_NAME: Final = re.compile(
    r"(?:^|_)(at|on|ts|time|timestamp|date|datetime|day|epoch|when|since|until|created|updated|modified|changed|expires|expiry|"
    r"birthday|dob|ms|us|ns|millis|micros|nanos)(?:$|_(?:ms|us|ns|s|utc|millis|micros|nanos|seconds)?$)"
)
DATE_NAME: Final = re.compile(r"(?:^|_)(date|day|on|birthday|dob|from|to|until)(?:$|_)")
MONEY_NAME: Final = re.compile(
    r"(?:^|_)(price|amount|total|subtotal|cost|balance|fee|tax|vat|discount|salary|revenue|sum|money|credit|debit|paid|due)(?:$|_)"
)
# From 1990 to 2100, in each unit: what stands in a field with the name of a time and is of that size is a count since the epoch.
FIRST_S, LAST_S = 631_152_000, 4_102_444_800
UNITS: Final = (
    ("ts_s", 1, "seconds"),
    ("ts_ms", 10**3, "milliseconds"),
    ("ts_us", 10**6, "microseconds"),
    ("ts_ns", 10**9, "nanoseconds"),
)
# The same years in days; smaller numbers are too often something else.
FIRST_DAY, LAST_DAY = 7_300, 47_500
# A decimal of money has few places; more of them are what a measurement has.
MONEY_PLACES: Final = 4


def choose(field: Field, name: str, *, lost_types: bool) -> Choice:
    """The column of a field. name: as the column is called. lost_types: a database had types, and the format dropped them."""
    if len(field.declared) == 1:
        return _declared(field.declared[0], field, name)
    if field.declared:
        kinds = " and ".join(source.kind for source in field.declared)
        return _of_several(field).noting(f"declared as {kinds} in turn")
    return by_values(field.values, name, lost_types=lost_types)


def _declared(source: SourceType, field: Field, name: str) -> Choice:
    if source.kind in types.VAGUE:
        if not field.values.told and source.kind == "string":
            return columns.text()
        found = by_values(field.values, name, lost_types=False)
    else:
        found = types.by_declared(source, field.values) or _undeclared(source, field.values, name)
    return found if fits(source, found.column) else columns.text(f"declared as {source.kind}")


def _undeclared(source: SourceType, values: Values, name: str) -> Choice:
    """A declaration that leaves the digits or the elements open."""
    return _decimal(values) if source.kind.startswith("decimal") else by_values(values, name, lost_types=False)


def _of_several(field: Field) -> Choice:
    """A type that changed while the topic was written."""
    choices = [types.by_declared(source, field.values) for source in field.declared]
    kinds = {choice.column.type for choice in choices if choice is not None}
    if None not in choices and kinds <= {"bigint", "integer"}:
        return columns.bigint()
    if None not in choices and kinds <= {"bigint", "integer", "real", "double precision"}:
        return columns.double()
    return columns.text()


def by_values(values: Values, name: str, *, lost_types: bool) -> Choice:
    if not values.told:
        return columns.text("only NULL was seen")
    if values.are(BOOL):
        return columns.boolean()
    if values.are(INT):
        return _integer(values, name, lost_types)
    if values.are(INT, NUMBER):
        return _number(values, name)
    if values.are(TEXT):
        return _text(values, name, lost_types)
    if values.are(OBJECT):
        return columns.free_form()
    if values.are(LIST):
        return _list(values)
    if values.are(BYTES):
        return columns.text("bytes, as base64")
    return _mixed(values)


def _mixed(values: Values) -> Choice:
    if values.are(BOOL, INT):
        is_flag = values.low is not None and values.high is not None and 0 <= values.low and values.high <= 1
        return (
            columns.boolean().noting("booleans and 0 or 1 were seen")
            if is_flag
            else columns.bigint("true and false become 1 and 0")
        )
    if values.are(NUMBER, INT, TEXT) and values.texts[NOT_FINITE] == values.kinds[TEXT]:
        return columns.double("texts such as NaN become NULL")._replace(overflow="null")
    *most, last = sorted(values.kinds)
    return columns.text(f"{', '.join(most)} and {last} were seen")


# ---------------------------------------------------------------- numbers


def _integer(values: Values, name: str, lost_types: bool) -> Choice:
    low, high = values.low or 0, values.high or 0
    unit = unit_of(low, high) if TIME_NAME.search(name) else None
    if unit is not None:
        read_as, word = unit
        return columns.instant(f"by name and size: epoch {word}", "" if read_as == "ts_ms" else read_as)
    if lost_types and DATE_NAME.search(name) and FIRST_DAY <= low and high <= LAST_DAY:
        return columns.local_time("by name and size: days since 1970", "date_days")
    if BIGINT_MIN <= low and high <= BIGINT_MAX:
        return columns.bigint()
    if values.whole <= NUMERIC_MAX_DIGITS:
        return columns.numeric(NUMERIC_MAX_DIGITS, 0, "integers beyond 64 bits were seen")
    return columns.text(f"integers of {values.whole} digits were seen")


def unit_of(low: int, high: int) -> tuple[str, str] | None:
    """The unit in which integers are moments of our time: as a contract says it, and in a word.

    >>> unit_of(1767225600000000, 1767225600000000), unit_of(1, 1000)
    (('ts_us', 'microseconds'), None)
    """
    for read_as, per_second, word in UNITS:
        if FIRST_S * per_second <= low and high < LAST_S * per_second:
            return read_as, word
    return None


def _number(values: Values, name: str) -> Choice:
    """JSON does not tell a decimal from a double; digits and names do."""
    if TIME_NAME.search(name) and unit_of(values.low or 0, values.high or 0) == ("ts_s", "seconds"):
        return columns.instant("by name and size: epoch seconds", "ts_s")
    has_one_form = len(values.places - {0}) == 1 and values.ends_in_zero
    is_money = MONEY_NAME.search(name) is not None and values.fraction <= MONEY_PLACES
    if values.is_double and not has_one_form and not is_money:
        return columns.double()
    return _decimal(values)


def _decimal(values: Values) -> Choice:
    precision, scale = types.with_room(values)
    if values.whole + values.fraction > NUMERIC_MAX_DIGITS or values.whole > precision - scale or values.fraction > scale:
        return columns.text("numbers with more digits than NUMERIC holds were seen")
    if not values.told or values.are(TEXT):
        return columns.text("a decimal, as its source writes it")
    return columns.numeric(precision, scale, types.seen_digits(values))


# ---------------------------------------------------------------- texts and lists


def _text(values: Values, name: str, lost_types: bool) -> Choice:
    if values.all_texts(MOMENT):
        return _moment_text(values)
    if values.all_texts(DIGITS):
        return columns.text("decimals as text: NUMERIC with enough digits would take them")
    if lost_types and values.all_texts(BASE64) and MONEY_NAME.search(name):
        return columns.text(
            'may be base64 of a decimal: NUMERIC(p, s) here and type = "numeric(p,s)" in the contract would read it'
        )
    return columns.text()


def _moment_text(values: Values) -> Choice:
    choose = columns.instant if values.texts[ZONED] else columns.local_time
    kind = "dates" if values.all_texts(DATE) else "moments"
    found = choose(f"texts of {kind}, cut to milliseconds" if values.texts[CUT] else f"texts of {kind}")
    return found.noting("0000-00-00 becomes NULL")._replace(overflow="null") if values.texts[ODD] else found


def _list(values: Values) -> Choice:
    inside = values.elements or Values()
    if not inside.told:
        return Choice("ARRAY(TEXT)", Column("", "text_array"), remark="only empty lists were seen")
    inner = by_values(inside, "", lost_types=False)
    found = columns.array_of(inner) if len(inside.kinds) == 1 or inside.are(INT, NUMBER) else None
    return found or columns.text("lists, as JSON: their elements differ or are lists")
