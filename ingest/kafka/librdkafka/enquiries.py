"""Questions that must not stop the polls: asked by a thread of their own, through a client of their own, one after the other.

The package lets one call of a client run at a time, whatever the thread, so the client that polls cannot be asked meanwhile.
`ask`, `end` and `Asked` belong to the loop's thread.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from confluent_kafka import Consumer

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")


class Asked(Generic[Answer]):
    """A question and what became of it."""

    def __init__(self, question: Callable[[Consumer], Answer]) -> None:
        self._question = question
        self._done = threading.Event()
        self.answer: Answer | None = None  # also where there is none

    def put_to(self, client: Consumer) -> None:
        """In the thread beside."""
        try:
            self.answer = self._question(client)
        except Exception as error:
            log.debug("librdkafka", extra={"error": type(error).__name__})
        finally:
            self._done.set()

    @property
    def is_done(self) -> bool:
        return self._done.is_set()


class Enquiries:
    """client: joins nothing. The thread is a daemon: a question without an answer must not keep the process from ending."""

    def __init__(self, client: Consumer) -> None:
        self._client = client
        self._asked: SimpleQueue[Asked[Any] | None] = SimpleQueue()
        threading.Thread(target=self._work, name="librdkafka-enquiries", daemon=True).start()

    def ask(self, question: Callable[[Consumer], Answer]) -> Asked[Answer]:
        asked = Asked(question)
        self._asked.put(asked)
        return asked

    def end(self) -> None:
        """Nothing is asked any more."""
        self._asked.put(None)

    def _work(self) -> None:
        while (asked := self._asked.get()) is not None:
            asked.put_to(self._client)
        self._client.close()
