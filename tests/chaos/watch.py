"""Looks on from a thread of its own: how far the group has committed, and what the workers' metrics say. Never in the way."""

from __future__ import annotations

import re
import threading
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Mapping
from contextlib import suppress
from http.client import HTTPException

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

LOOK_S = 0.25
COUNTED = re.compile(r'^(ingest_rows_total|ingest_retries_total)\{.*?(?:outcome|code)="([^"]+)".*\} (\S+)$', re.MULTILINE)
Offsets = Mapping[tuple[str, int], int]


class Watch:
    """total: records that the group has committed, as last seen. grew_s: when that last grew. look_s: between two looks."""

    def __init__(self, kafka: str, group: str) -> None:
        self._kafka, self._group = kafka, group
        self._admin: KafkaAdminClient | None = None
        self._urls: set[str] = set()
        self._counts: dict[str, dict[tuple[str, str], float]] = {}
        self._stop = threading.Event()
        self.total, self.grew_s, self.look_s = 0, 0.0, LOOK_S
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def add(self, url: str) -> None:
        """Of a worker's HTTP server."""
        self._urls = {*self._urls, url}

    def forget(self, url: str) -> None:
        """Of a worker that has ended: its counts stay as last seen."""
        self._urls = self._urls - {url}

    def counts(self) -> Counter[str]:
        """rows by outcome and retries by code, over all workers, each as last seen: "rows.written", "retries.store.blocked"."""
        found: Counter[str] = Counter()
        for samples in list(self._counts.values()):
            for (name, label), value in samples.items():
                found[f"{name.split('_')[1]}.{label}"] += int(value)
        return found

    def close(self) -> None:
        self._stop.set()
        self._thread.join(60)

    def _run(self) -> None:
        while not self._stop.wait(self.look_s):
            self._look()
        if self._admin is not None:
            self._admin.close()

    def _look(self) -> None:
        total = self._committed()
        if total > self.total:
            self.grew_s = time.monotonic()
        self.total = max(total, self.total)
        for url in self._urls:
            with suppress(OSError, ValueError, HTTPException):  # the worker is away, frozen or ends: what it said last counts
                self._counts[url] = scraped(url)

    def _committed(self) -> int:
        """0 while no broker can say. Then the next look begins anew: a client may go on asking a coordinator that is gone."""
        with suppress(KafkaError, OSError):
            self._admin = self._admin or KafkaAdminClient(bootstrap_servers=self._kafka, bootstrap_timeout_ms=2_000)
            if found := offsets_of(self._admin, self._group):
                return sum(found.values())
        if self._admin is not None:
            self._admin.close()
            self._admin = None
        return 0


def scraped(url: str) -> dict[tuple[str, str], float]:
    with urllib.request.urlopen(f"{url}/metrics", timeout=1) as answer:
        text = answer.read().decode()
    found: dict[tuple[str, str], float] = defaultdict(float)
    for name, label, value in COUNTED.findall(text):
        found[name, label] += float(value)
    return found


def offsets_of(admin: KafkaAdminClient, group: str) -> dict[tuple[str, int], int]:
    """What a group has committed, by topic and partition; {} while the broker cannot say."""
    try:
        told = admin.list_group_offsets(group)[group]
    except KafkaError as error:
        if not error.retriable:
            raise
        return {}
    return {(at.topic, at.partition): max(0, each.offset) for at, each in told.items()}


def committed(kafka: str, group: str) -> dict[tuple[str, int], int]:
    """The same, asked anew."""
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    try:
        return offsets_of(admin, group)
    finally:
        admin.close()
