"""The demo's stream as a whole, for tests."""

from __future__ import annotations

from ingest.demo.stream import Stream
from ingest.demo.truth import Message, Topics


def whole_stream(now_ms: int, records: int) -> tuple[Stream, list[Message]]:
    """A stream with its beginning and its end, all at one moment; about so many records between them."""
    stream = Stream(Topics.named(""), now_ms)
    messages = [*stream.beginning(now_ms), *stream.take(records, now_ms), *stream.ending(now_ms)]
    return stream, messages
