"""When a change was made, as sources write it: texts and counts to epoch milliseconds; what is no moment is None.

Only for a change's own time; columns are read by the tables room. Pure.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

_EPOCH: Final = datetime(1970, 1, 1)
_ZONED_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

# The count of the year 5138 in seconds is that of 1973 in milliseconds, and so on for finer units.
_SECONDS_BELOW, _MS_BELOW, _US_BELOW = 10**11, 10**14, 10**17


def text_ms(text: Any) -> int | None:
    """Epoch milliseconds of ISO text; without an offset it is UTC.

    >>> text_ms("2020-05-13 17:26:27.936000"), text_ms("2024-07-29T00:58:17.974340Z"), text_ms("soon")
    (1589390787936, 1722214697974, None)
    """
    if text.__class__ is not str:
        return None
    try:
        moment = datetime.fromisoformat(text)
        since = moment - (_EPOCH if moment.tzinfo is None else _ZONED_EPOCH)
        return since.days * 86_400_000 + since.seconds * 1_000 + since.microseconds // 1_000
    except (ValueError, OverflowError):
        return None


def count_ms(value: Any) -> int | None:
    """Milliseconds that are a count of them already."""
    return value if value.__class__ is int and 0 < value < _MS_BELOW else None


def guessed_ms(value: Any) -> int | None:
    """Epoch milliseconds of ISO text, or of a count whose size tells its unit.

    >>> guessed_ms(1700000000), guessed_ms(1700000000000000), guessed_ms("2020-05-13")
    (1700000000000, 1700000000000, 1589328000000)
    """
    if value.__class__ is not int or value <= 0:
        return text_ms(value)
    if value < _SECONDS_BELOW:
        return int(value * 1000)
    if value < _MS_BELOW:
        return int(value)
    return int(value // 1_000 if value < _US_BELOW else value // 1_000_000)
