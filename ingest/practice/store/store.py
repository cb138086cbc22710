"""The practice store as its users see it: start, url, stop, a look inside, and the switches that make things go wrong.

Owns one accepting thread and one per connection. Every method may be called from any thread. Memory only: stop, and all is gone
but what the object still holds. For trying and testing only.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from ingest.practice.store.database import Database
from ingest.practice.store.engine import Engine
from ingest.practice.store.faults import Cut, Said, Script, no_delay
from ingest.practice.store.server import Server

Delay = Callable[[str], float]


class Store:
    """A store for practice, on 127.0.0.1, that answers CrateDB's `/_sql`. port: 0 takes a free one."""

    def __init__(self, *, port: int = 0) -> None:
        self._port = port
        self._database = Database()
        self._engine = Engine(self._database)
        self._script = Script()
        self._server: Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> Self:
        """Serve; back when clients can connect. OSError where the port is taken."""
        if self._server:
            raise RuntimeError("the practice store runs already: stop it first")
        self._server = Server(self._port, self._database, self._engine, self._script)
        self._port = self._server.server_address[1]
        serve = self._server.serve_forever
        self._thread = threading.Thread(target=lambda: serve(poll_interval=0.05), name="practice-store", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Cut all connections and end the threads. Tables and the port stay for another start."""
        if self._server is None or self._thread is None:
            return
        self._server.shutdown()
        self._thread.join()
        self._server.drop()
        self._server.server_close()
        self._server = self._thread = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where clients connect: `http://127.0.0.1:port`."""
        return f"http://127.0.0.1:{self._port}"

    # ------------------------------------------------------------ a look inside

    @property
    def tables(self) -> dict[str, list[dict[str, Any]]]:
        """The rows of all tables as they are now, by `schema.table`; without system columns."""
        with self._engine.lock:
            return {table.full_name: [table.visible(row) for row in table.rows()] for table in self._database.tables()}

    def execute(self, stmt: str, args: Sequence[Any] = (), bulk_args: Sequence[Sequence[Any]] | None = None) -> dict[str, Any]:
        """A statement without HTTP. Raises errors.Refusal."""
        return self._engine.execute(stmt, args, bulk_args)

    # ------------------------------------------------------------ faults

    def fail_next(self, status: int, body: Any, times: int = 1, *, words: str = "") -> None:
        """Answer the next statements that have these words in them with status and body, and do nothing else."""
        self._script.add(Said(status, body), times, words)

    def cut_next(self, times: int = 1, *, words: str = "", after: bool = False) -> None:
        """Cut the connection at the next such statements, before they do anything, or after, unanswered."""
        self._script.add(Cut.AFTER if after else Cut.BEFORE, times, words)

    def delay(self, delay_s: float | Delay) -> None:
        """Hold each statement that long before it is executed; or as long as the function of its text says."""
        self._script.delay_s = delay_s if callable(delay_s) else (lambda _stmt: delay_s) if delay_s else no_delay

    def refuse(self, on: bool) -> None:
        """Hang up on whoever asks, until called with False."""
        self._script.is_refusing = on

    def drop_connections(self) -> None:
        """Cut every connection that is open now; clients may come back at once."""
        if self._server:
            self._server.drop()

    def clear_faults(self) -> None:
        """Forget the faults that no statement has met yet, open the door, and answer at once."""
        self._script.clear()
        self.refuse(False)
        self.delay(0.0)
