"""The start of a consumer and its end, and what is told when it cannot start: in the sentences that kafka-python's troubles have.

Loop's thread, but for the close itself.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from ingest import tls
from ingest.errors import Stop
from ingest.kafka import client_seams
from ingest.kafka.librdkafka.errors import REFUSED_LOGIN, REFUSED_TLS, as_client
from ingest.kafka.librdkafka.options import librdkafka_options
from ingest.kafka.options import SIDE, KafkaSettings, tls_context

log = logging.getLogger(__name__)

OnCommit = Callable[[KafkaError | None, Collection[TopicPartition]], None]

# A refused login is told by the next poll, not by the question that waits for an answer.
STEP_S = 1.0
KEPT_ERRORS = 100


class Connection:
    """A consumer that is not subscribed yet. on_statistics: see `health`; on_commit: see `commits`."""

    def __init__(self, settings: KafkaSettings, on_statistics: Callable[[str], None], on_commit: OnCommit) -> None:
        self._settings = settings
        self._errors: deque[KafkaError] = deque(maxlen=KEPT_ERRORS)
        options = librdkafka_options(settings)
        client_seams.see_a_listener(settings.bootstrap_servers)
        try:
            heard = {"error_cb": self._errors.append, "stats_cb": on_statistics, "on_commit": on_commit}
            self.consumer = Consumer({**options, **heard})
        except KafkaException as error:
            raise as_client(error.args[0]) from error

    def topics(self) -> Mapping[str, int]:
        """All topics with their numbers of partitions. Raises Stop, and kafka-python's errors when nobody answers in time."""
        end_s = time.monotonic() + self._settings.bootstrap_timeout_ms / 1000
        while True:
            try:
                return topics_of(self.consumer, STEP_S)
            except KafkaException as error:
                self.consumer.poll(0)
                if refusal := self.refusal():
                    raise refusal from error
                if time.monotonic() >= end_s:
                    self._see_why()
                    raise as_client(error.args[0]) from error

    def refusal(self) -> Exception | None:
        """Why a broker refused our login, or one of the two sides the other's certificate; None if none did."""
        while self._errors:
            error = self._errors.popleft()
            code = error.code()
            if code == REFUSED_LOGIN:
                return as_client(error)
            if code == REFUSED_TLS and (stop := self._tls_stop()):
                return stop
        return None

    def _see_why(self) -> None:
        """Raises Stop where one of the two sides wants TLS and the other does not, or does not like what it is shown."""
        if stop := self._tls_stop():
            raise stop
        if not self._is_tls:
            client_seams.see_no_tls(self._settings.bootstrap_servers)

    def _tls_stop(self) -> Stop | None:
        """librdkafka tells texts of OpenSSL's; a handshake of our own tells what they mean."""
        if not self._is_tls:
            return None
        context = tls_context(self._settings.client_options)
        for host, port in client_seams.places_of(self._settings.bootstrap_servers):
            verdict = tls.verdict_on_us(context, host, port, client_seams.CONNECT_S)
            if verdict is not None and (stop := tls.stop_for(verdict, SIDE, f"{host}:{port}")):
                return stop
        return None

    @property
    def _is_tls(self) -> bool:
        return self._settings.client_options.get("security_protocol") in client_seams.TLS


def enquirer(settings: KafkaSettings) -> Consumer:
    """A client that joins nothing, for questions beside a consumer that polls."""
    return Consumer({**librdkafka_options(settings), "statistics.interval.ms": 0})


def topics_of(consumer: Consumer, timeout_s: float) -> Mapping[str, int]:
    """All topics with their numbers of partitions; raises KafkaException. Creates none."""
    found: Mapping[str, Any] = consumer.list_topics(timeout=timeout_s).topics
    return {name: len(topic.partitions) for name, topic in found.items()}


def leave(consumer: Any, timeout_s: float) -> None:
    """Close it, and wait for that so long: librdkafka itself would wait for the answers of a broker that is gone."""
    closing = threading.Thread(target=_close, args=(consumer,), name="librdkafka-close", daemon=True)
    closing.start()
    closing.join(timeout_s)
    if closing.is_alive():
        # Whether the broker hears of our leaving or finds out after the session makes no difference to any record.
        log.warning("close_failed", extra={"error": "no answer in time"})


def _close(consumer: Any) -> None:
    """What ended the client is told once more by its close, which is done all the same."""
    try:
        consumer.close()
    except KafkaException as error:
        log.debug("librdkafka", extra={"error": type(error).__name__}, exc_info=error)
