"""For each row of docs/types.md: samples of its kinds, the columns they go to, and when a stored value is the one meant."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from hypothesis import strategies as st

from tests.properties import samples as s
from tests.properties.nested import (
    arrays,
    as_stored,
    declared,
    free_objects,
    is_point,
    points,
    refused_keys,
    same_json,
    same_list,
    same_object,
    same_shape,
    same_vector,
    shapes,
    shown,
    spoiled,
    typed_objects,
    unknown_keys,
    vectors,
)
from tests.properties.samples import Sample, Samples, as_is, spelled
from tests.properties.scalars import (
    COUNTS,
    as_decimals,
    bit_string,
    bit_strings,
    bits_of_numbers,
    booleans,
    documents,
    is_address,
    is_double,
    is_json,
    is_millisecond,
    is_number,
    is_real,
    is_real_or_double,
    is_text,
    is_text_of_moment,
    is_text_of_number,
    is_uuid,
    moments,
    numbers,
    numbers_and_counts,
    only,
    plain_texts,
    texts_of_moments,
    texts_of_numbers,
    unsigned,
    written_moments,
)

Same = Callable[[str, Any, Any], bool]


class Case(NamedTuple):
    """same(column, stored, meaning): whether the rule of the row holds. none_refused: the columns take every sample.

    edges: samples that every column is asked for, because chance may miss them.
    """

    samples: Samples
    columns: tuple[str, ...]
    same: Same
    none_refused: bool = False
    edges: Sequence[Sample] = ()


def case(samples: Samples, columns: str, same: Same, *, none_refused: bool = False, edges: Sequence[Sample] = ()) -> Case:
    return Case(samples, tuple(columns.split()), same, none_refused, edges)


# ---------------------------------------------------------------- the rows

NUMERICS: Final = "n52 n182 n200 n3810 n3838 n380"

# Rows whose columns take different samples have several cases.
CASES: Final[Mapping[str, tuple[Case, ...]]] = {
    "whole_numbers": (case(numbers, "b s i l", is_number, edges=s.number_edges),),
    "exact_numbers_as_whole": (case(s.exact_numbers, "b s i l", is_number),),
    "bits_as_whole": (case(unsigned(s.bits), "b s i l", is_number),),
    "counts_as_whole": (case(as_decimals(only(s.counts, *COUNTS)), "l i s b", is_number),),
    "times_of_day_as_whole": (case(as_decimals(s.times_of_day), "l i", is_number),),
    "intervals_as_whole": (case(as_decimals(s.interval_texts), "l i", is_number),),
    "doubles": (case(numbers_and_counts, "d", is_double, edges=s.number_edges),),
    "reals": (case(numbers_and_counts, "r", is_real, edges=s.number_edges),),
    "exact_numbers_as_floats": (case(s.exact_numbers, "d r", is_real_or_double),),
    "numerics": (case(numbers_and_counts, NUMERICS, is_number, edges=s.number_edges), case(s.exact_numbers, NUMERICS, is_number)),
    "booleans": (case(booleans, "bo", lambda _c, stored, meaning: stored is meaning),),
    "bits_as_booleans": (case(unsigned(s.bits), "bo", lambda _c, stored, meaning: stored is (meaning == 1)),),
    "texts": (case(plain_texts, "t v5 c4", is_text),),
    "numbers_as_texts": (case(texts_of_numbers, "t", is_text_of_number, none_refused=True),),
    "moments_as_texts": (case(texts_of_moments, "t", is_text_of_moment, none_refused=True),),
    "bytes_as_texts": (
        case(s.octets, "t", lambda _c, stored, meaning: b64decode(stored, validate=True) == meaning, none_refused=True),
    ),
    "bits_as_texts": (case(s.bits, "t", lambda _c, stored, meaning: stored == meaning, none_refused=True),),
    "uuids_as_texts": (case(s.uuid_samples, "t", is_uuid),),
    "documents_as_texts": (case(documents, "t", is_json, none_refused=True),),
    "moments": (case(moments, "ts tz", is_millisecond, edges=s.moment_edges),),
    "moments_as_written": (case(written_moments, "ts tz", is_millisecond),),
    "uuids": (case(s.open_uuids, "u", is_uuid),),
    "addresses": (case(s.addresses, "ip", is_address),),
    "bit_strings": (case(bit_strings, "b4 b1", bit_string), case(bits_of_numbers, "b4", bit_string)),
    "objects": (
        case(st.one_of(spelled(typed_objects, *as_is(None), declared), spoiled), "os oi od", same_object),
        case(st.one_of(unknown_keys, refused_keys, spelled(typed_objects, *as_is(None))), "os", same_object),
        case(st.one_of(refused_keys, spelled(typed_objects, *as_is(None))), "od", same_object),
        case(free_objects, "o", same_json),
    ),
    "vectors": (case(vectors, "fv", same_vector),),
    "arrays": (
        *(case(samples, column, same_list) for column, samples in arrays.items()),
        case(
            spelled(st.lists(st.one_of(st.none(), typed_objects), max_size=3), *as_is(None)),
            "aos",
            lambda c, stored, meaning: [shown(item) for item in stored] == [as_stored(item) for item in meaning],
        ),
    ),
    "points": (case(points, "gp", is_point),),
    "shapes": (case(shapes, "gs", same_shape),),
}
