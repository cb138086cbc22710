"""Random values of each kind of column, and how they look on each wire.

A logical value is what CrateDB must answer: int, Decimal, float, text, bool, list, dict, epoch ms, None.
`maker` draws one; `encoders` turn a logical value into what orjson writes for a source.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson

from .tables import YEAR_9999_MS, Spec, Values, month_start_ms

BIGINT_EDGE = 2**63 - 2  # CrateDB refuses one more, on both sides
LONGEST_TEXT_BYTES = 32_766  # of an indexed TEXT column

PLAIN = "alpha bravo charlie delta echo foxtrot golf hotel india juliet kilo lima mike november oscar papa quebec romeo"
ODD = (
    "ümlaut",
    "naïve",
    "日本",
    "🦀",
    "O'Neil",
    '"quoted"',
    "back\\slash",
    "two\nlines",
    "tab\there",
    "{brace}",
    "null",
    "0",
    "<&>",
)
WORDS = (*PLAIN.split(), *ODD)
STATUS = ("new", "paid", "packed", "shipped", "delivered", "returned", "", "sixteen letters!")
CLEAN_NUMBERS = (0, 1, -1, 2**31, 2**53 + 1, -(2**53) - 1, BIGINT_EDGE, -BIGINT_EDGE)
CLEAN_DOUBLES = (0.0, 5.0, -1.5, 0.1, 1e-300, 1.7976931348623157e308, 123456789.123456789)

Maker = Callable[[], Any]
Encoder = Callable[[Any], Any]


def makers(spec: Spec, rnd: random.Random) -> dict[str, Maker]:
    """One maker for each column but the key and the column that names the month."""
    r = rnd.random
    made: dict[str, Maker] = {
        "bigint": lambda: CLEAN_NUMBERS[int(r() * 8)] if r() < 0.1 else int(r() * 1e12),
        "integer": lambda: int(r() * 2**31) if r() < 0.1 else int(r() * 1000),
        "smallint": lambda: int(r() * 2**15) if r() < 0.1 else int(r() * 100),
        "double": lambda: CLEAN_DOUBLES[int(r() * 7)] if r() < 0.05 else round(r() * 1e6) / 1e4,
        "boolean": lambda: r() < 0.5,
        "text": lambda: text(rnd),
        "word": lambda: STATUS[int(r() * 8)],
        "cents": lambda: Decimal(int(r() * 10 ** (1 + int(r() * 15)))).scaleb(-2),
        "wide": lambda: Decimal(rnd.getrandbits(80) % 10**23 * 10**3 + int(r() * 1000)).scaleb(-4) * (1 if r() < 0.8 else -1),
        "ts_ms": lambda: month_start_ms(0) + int(r() * 6e10),
        "ts_iso": lambda: month_start_ms(0) + int(r() * 6e10),
        "json": lambda: a_document(rnd),
        "texts": lambda: [WORDS[int(r() * len(WORDS))] for _ in range(int(r() * 4))],
    }
    return {name: nullable(made[kind], r) for name, kind in spec.columns if name not in (*spec.key, spec.month_from)}


def nullable(maker: Maker, r: Callable[[], float]) -> Maker:
    return lambda: None if r() < 0.03 else maker()


def text(rnd: random.Random) -> str:
    r = rnd.random
    if r() < 0.0004:
        return "é" * (LONGEST_TEXT_BYTES // 2)
    return " ".join([WORDS[int(r() * len(WORDS))] for _ in range(1 + int(r() * 8))])


def a_document(rnd: random.Random) -> dict[str, Any]:
    r = rnd.random
    document: dict[str, Any] = {"colour": WORDS[int(r() * len(WORDS))], "size": int(r() * 100)}
    if r() < 0.3:
        document["nested"] = {"list": [1, "two", None, True], f"key{int(r() * 30)}": "Ünïcode"}
    return document


def iso(ms: int) -> str:
    """
    >>> iso(1719792000123)
    '2024-07-01T00:00:00.123Z'
    """
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def iso_with_finer_digits(ms: int) -> str:
    """Digits behind the millisecond, which CrateDB has no room for: they are cut."""
    return iso(ms)[:-1] + f"{ms % 997:03d}Z"


def same(value: Any) -> Any:
    return value


def as_json_text(value: Any) -> str:
    return orjson.dumps(value).decode()


def as_digits(value: Decimal) -> str:
    return format(value, "f")


def as_number_token(value: Decimal) -> orjson.Fragment:
    return orjson.Fragment(format(value, "f").encode())


DEBEZIUM: Mapping[str, Encoder] = {"cents": as_digits, "wide": as_digits, "ts_iso": iso_with_finer_digits, "json": as_json_text}
COCKROACH: Mapping[str, Encoder] = {
    "cents": as_number_token,
    "wide": as_number_token,
    "ts_ms": iso,
    "ts_iso": iso_with_finer_digits,
}


def encoders(spec: Spec) -> dict[str, Encoder]:
    """How each column's logical value goes into a message; None goes as null without asking."""
    table = COCKROACH if spec.shape == "cockroach" else DEBEZIUM
    return {name: table.get(kind, same) for name, kind in spec.columns}


def invented_image(spec: Spec, key: Mapping[str, Any]) -> Values:
    """The before image of a delete under REPLICA IDENTITY DEFAULT: only its key is real."""
    fallback: Values = {"bigint": 0, "integer": 0, "smallint": 0, "double": 0.0, "boolean": False, "ts_ms": 0, "cents": "0.00"}
    fallback |= {"text": "", "word": "", "ts_iso": "1970-01-01T00:00:00Z", "json": "{}", "texts": []}
    return {name: key.get(name, fallback.get(kind)) for name, kind in spec.columns}


def year_9999(spec: Spec) -> Any:
    return encoders(spec)[spec.month_from or ""](YEAR_9999_MS)
