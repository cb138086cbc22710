"""The topics that are there, looked at now and then: librdkafka's own patterns cannot say what is never read. Loop's thread."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from ingest.kafka.librdkafka.enquiries import Asked
from ingest.kafka.topics import Wanted

Topics = Mapping[str, int]


class TopicWatch:
    """look: all topics with their numbers of partitions, asked aside. seen: those that there are at the start."""

    def __init__(self, wanted: Wanted, seen: Topics, look: Callable[[], Asked[Topics]], every_s: float) -> None:
        self._wanted = wanted
        self._seen = seen
        self._look = look
        self._every_s = every_s
        self._at_s = 0.0
        self._asked: Asked[Topics] | None = None

    @property
    def names(self) -> Sequence[str]:
        """What to subscribe to."""
        pattern = self._wanted.pattern
        return self._wanted.names if pattern is None else sorted(name for name in self._seen if re.match(pattern, name))

    def partition_count(self, topic: str) -> int | None:
        return self._seen.get(topic) or None

    def look_soon(self) -> None:
        """Something has changed."""
        self._at_s = 0.0

    def look(self, now_s: float) -> bool:
        """Look again when it is time, without waiting; whether there is something new to subscribe to."""
        if self._asked is not None and self._asked.is_done:
            asked, self._asked = self._asked, None
            before, self._seen = self.names, asked.answer or self._seen
            return self.names != before
        if self._asked is None and now_s >= self._at_s:
            self._at_s = now_s + self._every_s
            self._asked = self._look()
        return False
