"""Numbers, texts, moments and other scalars: their samples, and when a stored value is the one that was meant."""

from __future__ import annotations

import json
import re
import struct
from datetime import datetime
from decimal import Decimal
from ipaddress import ip_address
from math import isnan
from typing import Any, Final
from uuid import UUID

from hypothesis import strategies as st

from tests.properties import samples as s
from tests.properties.samples import REFUSED, Measured, Sample, Samples, as_is, of, spelled


def only(samples: Samples, *kinds: str | None) -> Samples:
    return samples.filter(lambda sample: (sample.source.kind if sample.source else None) in kinds)


# ---------------------------------------------------------------- numbers


def is_number(_column: str, stored: Any, meaning: Decimal) -> bool:
    return Decimal(stored) == meaning


def is_double(_column: str, stored: float, meaning: Decimal) -> bool:
    return stored == float(meaning) and shows_again(stored, meaning)


def shows_again(stored: float, meaning: Decimal) -> bool:
    digits = len("".join(map(str, meaning.as_tuple().digits)).rstrip("0")) or 1
    return Decimal(repr(stored)) == meaning or Decimal(f"{stored:.{digits}g}") == meaning


def single(number: float) -> float:
    return float(struct.unpack("f", struct.pack("f", number))[0])


def is_real(_column: str, stored: float, meaning: Decimal) -> bool:
    """The nearest of 24 bits, and nothing but zero is zero; whole numbers that are no measurement come back whole."""
    is_nearest = single(stored) == single(float(meaning)) and (stored == 0) == (meaning == 0)
    is_rounded = isinstance(meaning, Measured) or meaning != meaning.to_integral_value()
    return is_nearest and (is_rounded or shows_again(single(stored), meaning) or shows_again(stored, meaning))


def is_real_or_double(column: str, stored: float, meaning: Decimal) -> bool:
    return (
        is_double(column, stored, meaning)
        if column == "d"
        else shows_again(stored, meaning) or shows_again(single(stored), meaning)
    )


def unsigned(samples: Samples) -> Samples:
    return samples.map(lambda sample: sample._replace(meaning=Decimal(int(sample.meaning or "0", 2))))


as_decimals: Final = lambda samples: samples.map(  # noqa: E731
    lambda sample: sample if sample.meaning is REFUSED else sample._replace(meaning=Decimal(sample.meaning))
)
numbers: Final = st.one_of(s.open_numbers, s.booleans_as_numbers)
COUNTS: Final = ("ts_s", "ts_ms", "ts_us", "ts_ns", "date_days", "interval_us", "interval_ns")
numbers_and_counts: Final = st.one_of(numbers, as_decimals(s.counts))

WORDS: Final = {
    "true": True,
    "T": True,
    "yes": True,
    "on": True,
    "1": True,
    "y": True,
    "FALSE": False,
    "f": False,
    "no": False,
    "0": False,
}
booleans: Final[Samples] = st.one_of(
    spelled(st.booleans(), *as_is(None, "bool"), *as_is("int", raw=int), *as_is("ext_json")),
    st.sampled_from(sorted(WORDS)).flatmap(
        lambda word: spelled(st.just(WORDS[word]), *as_is("string", "enum", None, raw=lambda _v: word))
    ),
    spelled(st.sampled_from([2, -1, "maybe", "", 0.5, Decimal("1.5")]), lambda raw: Sample(None, raw, REFUSED)),
)

# ---------------------------------------------------------------- text


def utf16(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def is_text(column: str, stored: str, meaning: str) -> bool:
    return stored == (meaning + " " * (4 - utf16(meaning)) if column == "c4" else meaning)


plain_texts: Final[Samples] = st.one_of(
    spelled(
        s.texts,
        *as_is(
            None, "string", "xml", "enum", "json", "date_text", "time_text", "ts_text", "interval_text", "ext_json", "enum_set"
        ),
    ),
    spelled(st.sampled_from(["\ud800", "a\udfffb"]), lambda text: Sample(None, text, REFUSED)),
)
WORDS_OF_NUMBERS: Final = {"NaN": "nan", "Infinity": "inf", "-Infinity": "-inf"}


def is_text_of_number(_column: str, stored: str, meaning: Any) -> bool:
    if isinstance(meaning, bool):
        return stored == ("true" if meaning else "false")
    if isinstance(meaning, float):
        return float(WORDS_OF_NUMBERS.get(stored, stored)) == meaning or (isnan(meaning) and stored == "NaN")
    if isinstance(meaning, str):
        return stored.lower().replace("positive_", "").replace("negative_", "-") == meaning
    return Decimal(stored) == meaning


texts_of_numbers: Final[Samples] = st.one_of(
    spelled(st.booleans(), *as_is("bool")),
    spelled(s.integers, *as_is("int", "year", "ts_s")),
    spelled(st.floats(), *as_is("float64")),
    spelled(st.floats(width=32), *as_is("float32")),
    s.exact_numbers.filter(lambda sample: sample.meaning is not REFUSED),
    spelled(st.sampled_from(["NaN", "Infinity", "-Infinity"]), *as_is("float64"), lambda w: Sample(of("decimal"), w, w)).map(
        lambda sample: sample._replace(meaning=sample.raw.lower())
    ),
)

ISO: Final = re.compile(r"(?:([+-]?\d{4,7})-(\d\d)-(\d\d))?T?(?:(-?)(\d\d+):(\d\d):(\d\d)(?:\.(\d{1,9}))?)?(Z|[+-]\d\d:\d\d)?")


def nanoseconds_of(text: str) -> int:
    """What an ISO text says, by a calendar of datetime's and not by ours."""
    found = ISO.fullmatch(text)
    assert found is not None, text
    year, month, day, sign, hours, minutes, seconds, fraction, _zone = found.groups()
    days = 0
    if year is not None:
        cycles, year_of = divmod(int(year), 400)
        days = (
            datetime(year_of + 400, int(month), int(day)).toordinal() - datetime(1970, 1, 1).toordinal() + (cycles - 1) * 146_097
        )
    clock = (int(hours or 0) * 60 + int(minutes or 0)) * 60 + int(seconds or 0)
    nanos = clock * s.NS_PER_S + int((fraction or "").ljust(9, "0"))
    return days * s.NS_PER_DAY + (-nanos if sign else nanos)


def is_text_of_moment(_column: str, stored: str, meaning: Any) -> bool:
    if isinstance(meaning, str):
        return stored == meaning
    if stored.startswith("PT"):
        return Decimal(stored[2:-1]) * s.NS_PER_S == meaning
    return nanoseconds_of(stored) == meaning


TICKS: Final = {
    "ts_ms": 10**6,
    "ts_us": 10**3,
    "ts_ns": 1,
    "time_ms": 10**6,
    "time_us": 10**3,
    "time_ns": 1,
    "interval_us": 10**3,
    "interval_ns": 1,
}
texts_of_moments: Final[Samples] = st.one_of(
    spelled(
        s.nanoseconds,
        *(
            lambda ns, kind=kind: Sample(of(kind), ns // TICKS[kind], ns // TICKS[kind] * TICKS[kind])  # type: ignore[misc]
            for kind in TICKS
            if not kind.startswith("time")
        ),
    ).filter(lambda sample: sample.raw not in s.INFINITIES.get(sample.source.kind if sample.source else "", ())),
    spelled(
        s.day_us,
        *(
            lambda us, kind=kind: Sample(of(kind), us * 1_000 // TICKS[kind], us * 1_000 // TICKS[kind] * TICKS[kind])
            for kind in ("time_ms", "time_us", "time_ns")
        ),  # type: ignore[misc]
    ),
    spelled(st.integers(-2_400_000, 10**8), lambda days: Sample(of("date_days"), days, days * s.NS_PER_DAY)),
    spelled(s.nanoseconds, s.structured),
    s.intervals_as_texts,
    s.infinite_counts.map(lambda pair: Sample(of(pair[0]), pair[1], "infinity" if pair[1] > 0 else "-infinity")),
    st.sampled_from([("POSITIVE_INFINITY", "infinity"), ("NEGATIVE_INFINITY", "-infinity")]).map(
        lambda pair: Sample(of("structured"), {"specialValue": pair[0]}, pair[1])
    ),
)


def is_json(_column: str, stored: Any, meaning: Any) -> bool:
    return bool(json.loads(stored, parse_float=Decimal) == json.loads(json.dumps(meaning, default=str), parse_float=Decimal))


documents: Final[Samples] = st.one_of(
    spelled(s.json_objects, *as_is("map", "struct", "point", "geometry", "hstore")),
    spelled(st.lists(s.json_values, max_size=4), *as_is("array", "vector")),
    spelled(
        st.lists(st.integers(-9, 9), max_size=3),
        lambda v: Sample(
            of("sparse_vector"),
            {"dimensions": 9, "vector": [[1, n] for n in v]},
            {"dimensions": 9, "vector": [[1, n] for n in v]},
        ),
    ),
)

# ---------------------------------------------------------------- moments


def is_millisecond(_column: str, stored: int, meaning: int) -> bool:
    return stored == meaning // 10**6


moments: Final[Samples] = st.one_of(
    spelled(s.nanoseconds, *map(s.counted, ("ts_ms", "ts_us", "ts_ns")), s.structured).filter(
        lambda sample: sample.raw not in s.INFINITIES.get(sample.source.kind if sample.source else "", ())
    ),
    spelled(
        s.nanoseconds,
        lambda ns: Sample(of("ts_s"), Decimal(ns).scaleb(-9), ns),
        lambda ns: Sample(of("ts_s"), ns // 10**9, ns // 10**9 * 10**9),
    ),
    spelled(
        st.integers(-(10**7), 2 * 10**7),
        lambda days: Sample(of("date_days"), days, days * s.NS_PER_DAY if days >= -2_440_588 else REFUSED),
    ),
    s.infinite_counts.map(lambda pair: Sample(of(pair[0]), pair[1], REFUSED)),
    spelled(
        st.sampled_from(
            [
                {"specialValue": "POSITIVE_INFINITY"},
                {"hour": 1},
                {"year": 2024, "month": 0, "day": 0},
                {"year": 2023, "month": 2, "day": 29},
            ]
        ),
        lambda raw: Sample(of("structured"), raw, REFUSED),
    ),
)
written_moments: Final[Samples] = st.one_of(
    s.iso_samples,
    s.far_dates,
    s.no_moments,
    spelled(
        s.calendar_ns.map(lambda ns: ns // 10**6),
        lambda ms: Sample(None, ms, ms * 10**6),
        lambda ms: Sample(of("int"), ms, ms * 10**6),
    ),
    spelled(
        s.calendar_ns.map(lambda ns: ns // 10**6),
        lambda ms: Sample(of("ext_json"), {"$date": ms}, ms * 10**6),
        lambda ms: Sample(of("ext_json"), {"$date": {"$numberLong": str(ms)}}, ms * 10**6),
    ),
    spelled(
        st.integers(253_402_300_800_000, 10**18),
        lambda ticks: Sample(None, ticks, REFUSED),
        lambda ticks: Sample(of("int"), -ticks, REFUSED),
    ),
)

# ---------------------------------------------------------------- other scalars


def is_uuid(_column: str, stored: str, meaning: UUID) -> bool:
    return stored == str(meaning)


def is_address(_column: str, stored: str, meaning: Any) -> bool:
    return bool(ip_address(stored) == meaning)


def bit_string(_column: str, stored: str, meaning: str) -> bool:
    return stored == f"B'{meaning}'"


bit_strings: Final[Samples] = st.one_of(s.bits, spelled(s.bit_texts, *as_is(None, "string", "ext_json")))
bits_of_numbers: Final[Samples] = st.one_of(
    spelled(st.integers(0, 15), lambda n: Sample(of("int"), n, f"{n:04b}"), lambda n: Sample(None, n, f"{n:04b}")),
    spelled(st.integers(16, 2**66), lambda n: Sample(of("int"), n, REFUSED), lambda n: Sample(None, -n, REFUSED)),
    spelled(st.booleans(), lambda b: Sample(of("bool"), b, f"{b:04b}")),
)
