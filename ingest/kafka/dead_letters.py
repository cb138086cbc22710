"""The dead-letter topic: flow.ports.DeadLetters over kafka-python's producer.

A thread of its own sends, because the producer may block; it alone touches the producer. The loop's thread leaves letters in a
queue and takes acknowledgements from another, both under one condition. A letter leaves only when the topic acknowledged it.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from threading import Condition, Thread
from typing import Any

from kafka import KafkaAdminClient, KafkaProducer
from kafka import errors as client

from ingest.errors import IngestError, Stop
from ingest.flow.ports import Letter
from ingest.kafka import client_seams
from ingest.kafka.client_errors import translate
from ingest.kafka.letters import Message, bare, message, size_bytes, smaller
from ingest.kafka.options import REQUEST_MAX_BYTES, DeadLetterSettings, admin_options, producer_options
from ingest.model import Position

log = logging.getLogger(__name__)

TOO_LARGE = (client.MessageSizeTooLargeError, client.RecordListTooLargeError)
# Acknowledgements come on the client's own thread and wake ours; this bounds only what a missed wake-up would cost.
TICK_S = 0.5
BACKOFF_FIRST_S = 0.2
BACKOFF_MAX_S = 10.0


@dataclass(slots=True, eq=False)
class _Waiting:
    """A letter on its way: what is sent of it now, and since when it waits."""

    letter: Letter
    message: Message
    size_bytes: int
    since_s: float
    answer: Any = None


class KafkaDeadLetters:
    """settings: see options. clock: monotonic seconds. The thread ends with close, or with the process."""

    def __init__(self, settings: DeadLetterSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._changed = Condition()
        self._queue: deque[_Waiting] = deque()
        self._flying: list[_Waiting] = []
        self._acknowledged: list[Position] = []
        self._backlog_bytes = 0
        self._flying_bytes = 0
        self._singly = 0  # so many letters from the head of the queue are sent one by one
        self._refused_bytes: float = REQUEST_MAX_BYTES  # the smallest message that was too large
        self._problem: str | None = None
        self._is_closing = False
        self._producer: Any = None
        self._thread = Thread(target=self._run, name="dead-letters", daemon=True)
        self._thread.start()

    # ------------------------------------------------------------ the loop's side

    def send(self, letter: Letter) -> None:
        size = size_bytes(letter)
        whole = message(letter, self._settings.group_id, self._settings.task_id)
        with self._changed:
            self._queue.append(_Waiting(letter, whole, size, self._clock()))
            self._backlog_bytes += size
            self._changed.notify()

    def take_acknowledged(self) -> Sequence[Position]:
        with self._changed:
            taken, self._acknowledged = self._acknowledged, []
        return taken

    @property
    def backlog_bytes(self) -> int:
        return self._backlog_bytes

    def trouble(self) -> str | None:
        with self._changed:
            oldest = min((each.since_s for each in (*self._flying[:1], *islice(self._queue, 1))), default=None)
            backlog, problem = self._backlog_bytes, self._problem
        waits_s = 0.0 if oldest is None else self._clock() - oldest
        if waits_s < self._settings.trouble_after_s and backlog <= self._settings.backlog_max_bytes:
            return None if problem is None or oldest is None else problem
        why = problem or "the broker has not acknowledged them"
        return f"dead letters have been waiting for {waits_s:.0f} s ({backlog} bytes): {why}"

    def close(self, timeout_s: float) -> None:
        """Let what is queued go out, at most timeout_s. What is not acknowledged then is rejected again after a restart."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join(timeout_s)

    # ------------------------------------------------------------ the sending thread

    def _run(self) -> None:
        """Send until closed and empty. Whatever goes wrong is told by `trouble` and tried again, later each time."""
        wait_s = BACKOFF_FIRST_S
        while self._wait_for_work():
            try:
                self._connect()
                self._hand_over()
                self._collect()
                self._problem, wait_s = None, BACKOFF_FIRST_S
            except Exception as error:
                self._note(error)
                self._take_back()
                if self._pause(wait_s):
                    break
                wait_s = min(2 * wait_s, BACKOFF_MAX_S)
        self._disconnect()

    def _wait_for_work(self) -> bool:
        """True as soon as there is a letter to send or an answer to collect, False when closed and nothing is left."""
        with self._changed:
            self._changed.wait_for(self._has_work, None if not self._flying else TICK_S)
            return bool(self._queue or self._flying) or not self._is_closing

    def _has_work(self) -> bool:
        if self._queue and self._has_room():
            return True
        if self._flying:
            return any(each.answer.is_done for each in self._flying)
        return self._is_closing

    def _pause(self, seconds: float) -> bool:
        """Wait before the next attempt; True when there will be none, because we are closing and Kafka does not answer."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closing, seconds)
            return self._is_closing

    def _connect(self) -> None:
        """Make sure of the topic, then make the producer; both only once as long as nothing fails."""
        if self._producer is not None:
            return
        self._ensure_topic()
        self._producer = client_seams.construct(KafkaProducer, producer_options(self._settings))
        client_seams.forbid_creation(self._producer)

    def _ensure_topic(self) -> None:
        settings = self._settings
        admin = client_seams.construct(KafkaAdminClient, admin_options(settings))
        try:
            if settings.topic in admin.list_topics():
                return
            if not settings.may_create:
                raise Stop("dlq.topic_missing", f"the dead-letter topic {settings.topic} does not exist: create it")
            shape = {"num_partitions": settings.partitions, "replication_factor": settings.replicas}
            admin.create_topics({settings.topic: shape}, wait_for_metadata=True)
            log.info("dlq_topic_created", extra={"topic": settings.topic})
        except client.TopicAlreadyExistsError:
            return  # another worker of the group was faster
        finally:
            admin.close()

    def _hand_over(self) -> None:
        """Give the producer as much as may be in flight."""
        while self._queue and self._has_room():
            waiting = self._queue[0]
            while waiting.message.size_bytes >= self._refused_bytes:
                self._cut(waiting)
            waiting.answer = self._send(waiting.message)
            waiting.answer.add_both(self._wake)
            with self._changed:
                self._flying.append(self._queue.popleft())
                self._flying_bytes += waiting.size_bytes

    def _has_room(self) -> bool:
        return not self._flying if self._singly else self._flying_bytes < self._settings.in_flight_bytes

    def _send(self, letter: Message) -> Any:
        """Without a key the producer would choose a sticky partition of its own liking, which is as good as any."""
        return self._producer.send(self._settings.topic, value=letter.value, key=letter.key, headers=list(letter.headers))

    def _wake(self, _: Any) -> None:
        with self._changed:
            self._changed.notify()

    def _collect(self) -> None:
        """Acknowledge what the topic has; what failed is taken back and sent again, singly where something was too large."""
        with self._changed:
            done: list[_Waiting] = []
            still: list[_Waiting] = []
            for each in self._flying:  # asked once each: an answer may come between two looks
                (done if each.answer.is_done else still).append(each)
        failed = [each for each in done if each.answer.failed()]
        if any(isinstance(each.answer.exception, TOO_LARGE) for each in failed):
            self._take_smaller(len(self._flying))
        elif failed:
            raise failed[0].answer.exception
        else:
            self._acknowledge(done, still)
            self._singly = max(0, self._singly - len(done))

    def _take_smaller(self, flying: int) -> None:
        """A letter is above the broker's limit. The idempotent producer is of no use after that and fails all that it holds with
        the same error, so only a letter that was alone is known to be the one; several are sent again one by one.
        """
        if flying == 1:
            self._refused_bytes = min(self._refused_bytes, self._flying[0].message.size_bytes)
        self._singly = max(self._singly, flying)
        self._take_back()

    def _acknowledge(self, done: Sequence[_Waiting], still: list[_Waiting]) -> None:
        with self._changed:
            self._flying = still
            self._flying_bytes -= sum(each.size_bytes for each in done)
            self._acknowledged += [each.letter.record.at for each in done]
            self._backlog_bytes -= sum(each.size_bytes for each in done)

    def _cut(self, waiting: _Waiting) -> None:
        """Leave behind what the broker finds too large. Even the reasons alone may not fit: then nothing is lost but time."""
        smallest = bare(waiting.letter, self._settings.group_id, self._settings.task_id)
        if waiting.message == smallest:
            self._refused_bytes = REQUEST_MAX_BYTES
            # Whole again: once the limit is raised nothing need be left behind.
            waiting.message = message(waiting.letter, self._settings.group_id, self._settings.task_id)
            raise Stop(
                "dlq.limit", f"topic {self._settings.topic} accepts not even a letter's headers: raise its max.message.bytes"
            )
        waiting.message = smaller(waiting.message) or smallest
        log.warning("dead_letter_cut", extra={"at": str(waiting.letter.record.at), "size_bytes": waiting.size_bytes})

    # ------------------------------------------------------------ when it goes wrong

    def _note(self, error: Exception) -> None:
        meaning = error if isinstance(error, IngestError) else translate(error, "sending dead letters")
        self._problem = meaning.text
        log.warning("dead_letters_trouble", extra={"code": meaning.code, "text": meaning.text})

    def _take_back(self) -> None:
        """Forget the producer and queue again what it had. A letter may then arrive twice, which its headers show."""
        self._disconnect()
        done = [each for each in self._flying if each.answer.is_done and each.answer.succeeded()]
        back = [each for each in self._flying if each not in done]
        with self._changed:
            self._queue.extendleft(reversed(back))
            self._flying_bytes = sum(each.size_bytes for each in done)
        self._acknowledge(done, [])

    def _disconnect(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.close(timeout=1)
