"""Readings of sensors: Avro, without a key, in whatever partition is next.

Pure but for its own memory. Used by the thread that produces.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from random import Random
from typing import Any

import fastavro

from ingest.demo.files import avro_text
from ingest.demo.stock import PARTITIONS
from ingest.demo.truth import READINGS, Message, Topics, Truth, month_of

SENSORS = 40
# Some sensors were out of reach and send what they have kept for so long: two or three months, so as many partitions.
OLDEST_MS = 45 * 86_400_000


class Sensors:
    """Forty sensors."""

    def __init__(self, topics: Topics, truth: Truth, random: Random) -> None:
        self._topic = topics.sensors
        self._truth = truth
        self._random = random
        self._schema = fastavro.parse_schema(json.loads(avro_text()))
        self._turn = 0

    def step(self, now_ms: int) -> Iterator[Message]:
        at_ms = now_ms if self._random.random() < 0.7 else now_ms - self._random.randrange(OLDEST_MS)
        battery = self._random.choice((None, *range(5, 101, 5)))
        reading = {
            "sensor": f"s-{self._random.randrange(SENSORS):02d}",
            "celsius": round(self._random.gauss(19, 4), 2),
            "battery": battery,
            "at": at_ms,
        }
        self._turn = (self._turn + 1) % PARTITIONS
        message = Message(self._topic, self._turn, None, self.written(reading))
        place = self._truth.place(message)
        row = (reading["sensor"], reading["celsius"], battery, at_ms, month_of(at_ms))
        self._truth.rows[READINGS][(place.topic, place.partition, place.offset)] = row
        yield message

    def written(self, reading: dict[str, Any]) -> bytes:
        """The bytes of one reading, without any prefix: the worker finds the schema by the topic's name."""
        out = io.BytesIO()
        fastavro.schemaless_writer(out, self._schema, reading)
        return out.getvalue()
