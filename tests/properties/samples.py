"""Values of every source type, each with what it means: Hypothesis makes the meaning first and then spells it as a source would.

So the expectation never passes through the code under test. REFUSED is the meaning of what no column of the sample may take.
"""

from __future__ import annotations

import json
import struct
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, Final, NamedTuple
from uuid import UUID

from hypothesis import strategies as st

from ingest.model import SourceType


class Refused:
    def __repr__(self) -> str:
        return "REFUSED"


REFUSED: Final = Refused()


class Sample(NamedTuple):
    source: SourceType | None
    raw: Any
    meaning: Any


class Measured(Decimal):
    """A number that came as floating point: REAL keeps 24 bits of it."""


Samples = st.SearchStrategy[Sample]


def of(kind: str | None, **more: Any) -> SourceType | None:
    return None if kind is None else SourceType(kind, **more)


def spelled(values: st.SearchStrategy[Any], *spellings: Callable[[Any], Sample]) -> Samples:
    """Each value in one of these spellings."""
    return st.builds(lambda spell, value: spell(value), st.sampled_from(spellings), values)


def as_is(*kinds: str | None, raw: Callable[[Any], Any] = lambda value: value) -> tuple[Callable[[Any], Sample], ...]:
    return tuple(lambda value, kind=kind: Sample(of(kind), raw(value), value) for kind in kinds)  # type: ignore[misc]


# ---------------------------------------------------------------- numbers

EDGES: Final = sorted(
    {
        sign * (2**bits + near)
        for bits in (0, 7, 8, 15, 16, 24, 31, 32, 53, 63, 64)
        for near in (-2, -1, 0, 1, 2)
        for sign in (1, -1)
    }
)
integers: Final = st.one_of(st.sampled_from(EDGES), st.integers(-300, 300), st.integers(-(2**66), 2**66))
decimals: Final = st.one_of(
    st.builds(lambda n, s: Decimal(n).scaleb(-s), st.integers(10**14, 10**19), st.integers(1, 20)),
    st.builds(lambda n, s: Decimal(n).scaleb(-s), integers, st.integers(0, 6)),
    st.builds(
        lambda n, s: Decimal((n < 0, tuple(map(int, str(abs(n)))), -s)), st.integers(-(10**40), 10**40), st.integers(-5, 45)
    ),
)
finite: Final = st.floats(allow_nan=False, allow_infinity=False)
not_finite: Final = st.sampled_from(
    ["NaN", "Infinity", "-Infinity", float("nan"), float("inf"), float("-inf"), "POSITIVE_INFINITY"]
)

open_numbers: Final[Samples] = st.one_of(
    spelled(integers.map(Decimal), *as_is("int", None, "year", raw=int), *as_is("string", "enum", None, raw=str)),
    spelled(integers.map(Decimal), lambda n: Sample(of("ext_json"), {"$numberLong": str(n)}, n)),
    spelled(
        decimals,
        *as_is(None, "float64"),
        *as_is("string", raw=str),
        lambda n: Sample(of("ext_json"), {"$numberDecimal": str(n)}, n),
    ),
    spelled(finite, lambda f: Sample(of("float64"), f, Measured(repr(f))), lambda f: Sample(None, f, Measured(repr(f)))),
    spelled(st.floats(width=32, allow_nan=False, allow_infinity=False), lambda f: Sample(of("float32"), f, Measured(repr(f)))),
    spelled(not_finite, lambda word: Sample(of("float64"), word, REFUSED)),
    spelled(
        st.sampled_from(["", " 5", "5 ", "1_000", "٣", "0x10", "--1", "1e", ".", "abc"]), lambda text: Sample(None, text, REFUSED)
    ),
)
_FINE: Final = (
    "9007199254740993",
    "0.1234567890123456789",
    "1.7976931348623157e308",
    "5e-324",
    "1e-46",
    "0.0",
    "99999999999999999.5",
    "1E+37",
    "0.5",
    "999.99",
    "999.995",
    "1e-38",
)
number_edges: Final = [
    *(Sample(None, number, Decimal(number)) for number in EDGES),
    *(Sample(of("string"), str(number), Decimal(number)) for number in EDGES),
    *(Sample(of("float64"), Decimal(text), Decimal(text)) for text in _FINE),
]
booleans_as_numbers: Final[Samples] = spelled(st.booleans(), lambda b: Sample(of("bool"), b, Decimal(b)))


def unscaled_octets(number: int) -> bytes:
    return number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True)


def _scaled(spell: Callable[[int, int], Sample]) -> Samples:
    numbers = st.one_of(integers, st.integers(-(10**38), 10**38), st.integers(-(10**41), 10**41))
    return st.builds(spell, numbers, st.integers(-3, 40))


def exactly(number: int, scale: int) -> Decimal:
    return Decimal((number < 0, tuple(map(int, str(abs(number)))), -scale))


def _money(cents: int) -> str:
    text = f"${abs(cents) // 100:,}.{abs(cents) % 100:02d}"
    return f"-{text}" if cents < 0 else text


exact_numbers: Final[Samples] = st.one_of(
    _scaled(lambda n, s: Sample(of("decimal", scale=s), unscaled_octets(n), exactly(n, s))),
    _scaled(lambda n, s: Sample(of("decimal_base64", scale=s), b64encode(unscaled_octets(n)).decode(), exactly(n, s))),
    _scaled(lambda n, s: Sample(of("decimal_variable"), {"scale": s, "value": unscaled_octets(n)}, exactly(n, s))),
    _scaled(
        lambda n, s: Sample(of("decimal_variable"), {"scale": s, "value": b64encode(unscaled_octets(n)).decode()}, exactly(n, s))
    ),
    spelled(decimals, *as_is("decimal"), *as_is("decimal", raw=str)),
    spelled(integers, lambda cents: Sample(of("money"), _money(cents), exactly(cents, 2))),
    spelled(st.integers(0, 2**64 - 1), lambda n: Sample(of("uint64_wrapped"), n - 2**64 if n >= 2**63 else n, Decimal(n))),
    spelled(st.sampled_from(["NaN", "NAN", "Infinity", "NEGATIVE_INFINITY"]), lambda word: Sample(of("decimal"), word, REFUSED)),
)


# ---------------------------------------------------------------- bits and bytes


def bit_words(text: str) -> list[int]:
    """CockroachDB's spelling of a text of 0 and 1."""
    words = [text[at : at + 64] for at in range(0, len(text), 64)]
    used = len(words[-1]) if words else 0
    numbers = [int(word.ljust(64, "0"), 2) for word in words]
    return [used, *(number - 2**64 if number >= 2**63 else number for number in numbers)]


def little_endian(text: str) -> bytes:
    return int(text or "0", 2).to_bytes((len(text) + 7) // 8, "little")


bit_texts: Final = st.one_of(
    st.text("01", min_size=4, max_size=4), st.text("01", min_size=1, max_size=9), st.text("01", max_size=130)
)
bits: Final[Samples] = spelled(
    bit_texts,
    lambda text: Sample(of("bits", length=len(text)), little_endian(text), text),
    lambda text: Sample(of("bits_base64", length=len(text)), b64encode(little_endian(text)).decode(), text),
    lambda text: Sample(of("bits_words"), bit_words(text), text),
)


def _escaped(octets: bytes) -> str:
    return "".join("\\\\" if byte == 92 else chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}" for byte in octets)


octets: Final[Samples] = spelled(
    st.binary(max_size=60),
    *as_is("bytes"),
    *as_is("bytes_base64", raw=lambda value: b64encode(value).decode()),
    *as_is("bytes_base64url", raw=lambda value: urlsafe_b64encode(value).decode()),
    *as_is("bytes_base64url", raw=lambda value: urlsafe_b64encode(value).decode().rstrip("=")),
    *as_is("bytes_hex", raw=lambda value: value.hex()),
    *as_is("bytes_hex", raw=lambda value: f"\\x{value.hex()}"),
    *as_is("bytes_escape", raw=_escaped),
    *as_is("bytes_latin1", raw=lambda value: value.decode("latin-1")),
)

# ---------------------------------------------------------------- moments: nanoseconds since the epoch

NS_PER_S: Final = 10**9
NS_PER_DAY: Final = 86_400 * NS_PER_S
# A TIMESTAMP's limit is 10**15 ms; beyond it, at it, in the calendar of datetime, and around the epoch.
nanoseconds: Final = st.one_of(
    st.integers(-62_135_596_800 * NS_PER_S, 253_402_300_799 * NS_PER_S),
    st.integers(-2 * NS_PER_DAY, 2 * NS_PER_DAY),
    st.sampled_from([sign * (10**21 + near) for near in (-(10**6), -1, 0, 1) for sign in (1, -1)]),
    st.integers(-(10**22), 10**22),
)
INFINITIES: Final = {
    "ts_ms": (9_223_372_036_825_200, -9_223_372_036_832_400),
    "ts_us": (9_223_372_036_825_200_000, -9_223_372_036_832_400_000, 2**63 - 1, -(2**63)),
    "ts_ns": (2**63 - 1, -(2**63)),
}
TICKS_NS: Final = {"ts_ms": 10**6, "ts_us": 10**3, "ts_ns": 1}


def counted(kind: str) -> Callable[[int], Sample]:
    return lambda ns: Sample(of(kind), ns // TICKS_NS[kind], ns // TICKS_NS[kind] * TICKS_NS[kind])


moment_edges: Final = [
    *(Sample(of(kind), count, REFUSED) for kind, both in INFINITIES.items() for count in both),
    *(
        Sample(of(kind), sign * (10**21 // ticks) + near, (sign * (10**21 // ticks) + near) * ticks)
        for kind, ticks in TICKS_NS.items()
        for sign in (1, -1)
        for near in (-1, 0, 1)
    ),
    *(counted(kind)(near) for kind in TICKS_NS for near in (-1, 0, 1, -(10**6), -(10**6) - 1)),
]
infinite_counts: Final = st.sampled_from([(kind, count) for kind, counts in INFINITIES.items() for count in counts])


def date_parts(days: int) -> tuple[int, int, int]:
    """Year, month, day by datetime's own calendar, which repeats every 400 years of 146,097 days."""
    cycles, rest = divmod(days, 146_097)
    day = date(2000, 3, 1) + timedelta(days=rest - (date(2000, 3, 1) - date(1970, 1, 1)).days)
    if day.year < 1:
        raise AssertionError("the calendar begins too late for this sum")
    return day.year + 400 * cycles, day.month, day.day


def structured(ns: int) -> Sample:
    days, rest = divmod(ns, NS_PER_DAY)
    year, month, day = date_parts(days)
    seconds, nanos = divmod(rest, NS_PER_S)
    clock = {"hour": seconds // 3600, "minute": seconds // 60 % 60, "second": seconds % 60, "nanos": nanos}
    return Sample(of("structured"), {"year": year, "month": month, "day": day, **clock, "specialValue": None}, ns)


def iso(ns: int, separator: str, fraction_digits: int, offset_minutes: int | None) -> str:
    """A moment of the years 1 to 9999 as datetime writes it, with so many digits, cut; with an offset or none."""
    zone = timezone(timedelta(minutes=offset_minutes or 0))
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=ns // NS_PER_S)
    text = moment.astimezone(zone).strftime(f"%m-%d{separator}%H:%M:%S")
    fraction = f"{ns % NS_PER_S:09d}"[:fraction_digits]
    offset = "" if offset_minutes is None else "Z" if offset_minutes == 0 else moment.astimezone(zone).strftime("%z")
    return f"{moment.astimezone(zone).year:04d}-{text}{'.' if fraction else ''}{fraction}{offset}"


# A day from both ends, so that no offset leads out of datetime's years.
calendar_ns: Final = st.integers(-62_135_596_800 * NS_PER_S + NS_PER_DAY, 253_402_300_799 * NS_PER_S - NS_PER_DAY)
iso_samples: Final[Samples] = st.builds(
    lambda kind, ns, separator, digits, offset: Sample(
        of(kind), iso(ns, separator, digits, offset), ns // 10 ** (9 - digits) * 10 ** (9 - digits)
    ),
    st.sampled_from([None, "string", "ts_text"]),
    calendar_ns,
    st.sampled_from("T "),
    st.integers(0, 9),
    st.one_of(st.none(), st.just(0), st.integers(-14 * 60, 14 * 60)),
)


def far_text(days: int) -> str:
    year, month, day = date_parts(days)
    return f"{'+' if year > 9999 else '-' if year < 0 else ''}{abs(year):04d}-{month:02d}-{day:02d}"


far_dates: Final[Samples] = st.one_of(
    spelled(st.integers(-12_000_000, 12_000_000), lambda days: Sample(of("date_text"), far_text(days), days * NS_PER_DAY)),
    spelled(st.integers(-200_000, 3_000_000), lambda days: Sample(of("date_text"), far_text(days) + "Z", days * NS_PER_DAY)),
    spelled(st.integers(-1_000_000, -720_000), lambda days: Sample(of("ts_text"), _before_christ(days), days * NS_PER_DAY)),
    spelled(
        st.integers(-700_000, 2_900_000),
        lambda days: Sample(of("ts_text"), f"{far_text(days)}T24:00:00Z", (days + 1) * NS_PER_DAY),
    ),
)


def _before_christ(days: int) -> str:
    year, month, day = date_parts(days)
    return f"{1 - year:04d}-{month:02d}-{day:02d} 00:00:00 BC"


no_moments: Final[Samples] = spelled(
    st.sampled_from(
        [
            "infinity",
            "-infinity",
            "0000-00-00",
            "2024-00-10",
            "2023-02-29",
            "2016-12-31T23:59:60Z",
            "2024-03-05T24:00:01Z",
            "20240305",
            "x",
            "",
        ]
    ),
    *(lambda text, kind=kind: Sample(of(kind), text, REFUSED) for kind in (None, "ts_text", "string")),  # type: ignore[misc]
)


def clock(us: int) -> str:
    """Microseconds since midnight as sources write them, negative or beyond a day as MySQL may."""
    seconds, fraction = divmod(abs(us), 10**6)
    text = f"{'-' if us < 0 else ''}{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    return f"{text}.{fraction:06d}".rstrip("0") if fraction else text


day_us: Final = st.one_of(st.integers(0, 86_400 * 10**6), st.integers(-838 * 3_600 * 10**6, 838 * 3_600 * 10**6))
times_of_day: Final[Samples] = st.one_of(
    spelled(day_us.map(lambda us: us // 1_000), lambda ms: Sample(of("time_ms"), ms, ms * 1_000)),
    spelled(day_us, *as_is("time_us"), *as_is("time_text", raw=clock), *as_is("time_text", raw=lambda us: f"{clock(us)}Z")),
    spelled(day_us, lambda us: Sample(of("time_ns"), us * 1_000, us), lambda us: Sample(of("time_ns"), us * 1_000 + 1, REFUSED)),
    spelled(
        st.integers(0, 86_399),
        lambda s: Sample(of("structured"), {"hour": s // 3600, "minute": s // 60 % 60, "second": s % 60}, s * 10**6),
    ),
    spelled(
        day_us,
        lambda us: Sample(of("time_text"), f"{clock(us)}+02:00", REFUSED),
        lambda _us: Sample(of("time_text"), "23:59:60", REFUSED),
    ),
)

_parts: Final = st.tuples(
    st.integers(-999, 999),
    st.integers(-48, 48),
    st.integers(-99, 99),
    st.integers(-(10**8), 10**8),
    st.sampled_from([0, 0, 0, 1, -5]),
)


def _interval(parts: tuple[int, int, int, int, int], *, as_words: bool) -> Sample:
    days, hours, minutes, us, months = parts
    seconds = f"{'-' if us < 0 else ''}{abs(us) // 10**6}.{abs(us) % 10**6:06d}"
    meaning: Any = ((days * 24 + hours) * 60 + minutes) * 60 * 10**6 + us
    text = f"P0Y{months}M{days}DT{hours}H{minutes}M{seconds}S"
    if as_words:
        clock_us = abs(us) + (abs(hours) * 60 + abs(minutes) % 60) * 60 * 10**6
        sign = -1 if us < 0 else 1
        meaning = days * 86_400 * 10**6 + sign * clock_us
        text = f"{f'{months} mons ' if months else ''}{days} days {'-' if sign < 0 else ''}{clock(clock_us)}"
    return Sample(of("interval_text"), text, REFUSED if months else meaning)


def interval_parts(parts: tuple[int, int, int, int, int]) -> Sample:
    """What Debezium's structured mode makes of an interval; seconds and nanoseconds have one sign."""
    days, hours, minutes, us, months = parts
    sign = -1 if us < 0 else 1
    seconds = {"second": sign * (abs(us) // 10**6), "nanos": sign * (abs(us) % 10**6) * 1_000}
    raw = {"year": 0, "month": months, "day": days, "hour": hours, "minute": minutes, **seconds}
    meaning = ((days * 24 + hours) * 60 + minutes) * 60 * 10**6 + us
    return Sample(of("interval_parts"), raw, REFUSED if months else meaning)


def interval_parts_as_text(parts: tuple[int, int, int, int, int]) -> Sample:
    days, hours, minutes, us, months = parts
    fraction = f".{abs(us) % 10**6:06d}000" if us % 10**6 else ""
    text = f"P0Y{months}M{days}DT{hours}H{minutes}M{'-' if us < 0 else ''}{abs(us) // 10**6}{fraction}S"
    return interval_parts(parts)._replace(meaning=text)


interval_texts: Final[Samples] = st.one_of(
    st.builds(lambda parts, as_words: _interval(parts, as_words=as_words), _parts, st.booleans()),
    st.builds(interval_parts, _parts),
)
intervals_as_texts: Final[Samples] = st.builds(interval_parts_as_text, _parts)
counts: Final[Samples] = spelled(
    integers.filter(lambda n: abs(n) < 2**63),
    *as_is("ts_s", "ts_ms", "ts_us", "ts_ns", "date_days", "interval_us", "interval_ns", "time_us"),
)

# ---------------------------------------------------------------- text and what is like it

texts: Final = st.one_of(st.text(max_size=6), st.text(max_size=80), st.text("ab \t\0é\U0001f600", max_size=6))
uuids: Final = st.uuids()
uuid_samples: Final[Samples] = st.one_of(
    spelled(uuids, *as_is("uuid", raw=str), *as_is("uuid", raw=lambda u: str(u).upper()), *as_is("uuid", raw=lambda u: u.hex)),
    spelled(uuids, *as_is("uuid", raw=lambda u: f"{{{u}}}"), *as_is("uuid", raw=lambda u: u.bytes)),
    spelled(
        st.sampled_from(["", "x", "1_" + "0" * 30, "٣" * 32, "2b1d9f31", None.__class__.__name__]),
        lambda t: Sample(of("uuid"), t, REFUSED),
    ),
)
open_uuids: Final[Samples] = st.one_of(
    uuid_samples,
    spelled(uuids, *as_is(None, "string", raw=str), lambda u: Sample(of("ext_json"), {"$uuid": str(u).upper()}, u)),
    spelled(
        uuids,
        lambda u: Sample(of("ext_json"), {"$binary": {"base64": b64encode(UUID(str(u)).bytes).decode(), "subType": "04"}}, u),
    ),
)
addresses: Final[Samples] = st.one_of(
    spelled(st.ip_addresses(v=4), *as_is(None, "string", "ext_json", raw=str), *as_is(None, raw=lambda a: f"{a}/32")),
    spelled(
        st.ip_addresses(v=6).filter(lambda a: a.ipv4_mapped is None),
        *as_is(None, raw=lambda a: str(a).upper()),
        *as_is(None, raw=lambda a: f"{a}/128"),
    ),
    spelled(st.ip_addresses(v=4), lambda a: Sample(None, f"{a}/24", REFUSED), lambda a: Sample(None, f"::ffff:{a}", REFUSED)),
    spelled(st.sampled_from(["", "x", "1.2.3", "01.2.3.4", "fe80::1%eth0", 16909060]), lambda raw: Sample(None, raw, REFUSED)),
)

# ---------------------------------------------------------------- JSON

json_numbers: Final = st.one_of(st.integers(-(2**63), 2**63 - 1), finite.map(lambda f: f + 0.0), st.integers(-5, 5))
json_values: Final = st.recursive(
    st.one_of(st.none(), st.booleans(), json_numbers, st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=6), inner, max_size=4)),
    max_leaves=8,
)
json_objects: Final = st.dictionaries(
    st.one_of(st.text(max_size=6), st.sampled_from(["", ".", "a.b", "a[0]", "_id", "\t", "]"])), json_values, max_size=5
)
longitudes: Final = st.floats(-180, 180)
latitudes: Final = st.floats(-90, 90)
positions: Final = st.tuples(longitudes, latitudes).map(list)


def wkb(position: list[float], *, order: str = "<", srid: int | None = None) -> bytes:
    code = 1 | (0x2000_0000 if srid is not None else 0)
    head = struct.pack(f"{order}BI", 1 if order == "<" else 0, code) + (b"" if srid is None else struct.pack(f"{order}I", srid))
    return head + struct.pack(f"{order}2d", *position)


def dumps(value: Any) -> str:
    return json.dumps(value)
