"""The faults of a soak: what the dice may do to workers, CrateDB, Kafka and the way between, each repaired when it returns.

The first worker of the rig is never touched: it lives through everything that happens to the servers. One thread.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from tests.chaos import judge, proxy
from tests.chaos.proxy import Answer, Exchange, Rule
from tests.chaos.rig import Member, Rig
from tests.integration.worker_rig import Done
from tests.server_processes import Process

Fault = Callable[[], None]
# A member whose session is over is missed: the rig's sessions last 10 s.
PAST_SESSION_S = 14.0
STARTS = 3
SICK = (
    Answer(503, b""),
    Answer(429, b""),
    Answer(502, b"<html>Bad Gateway</html>", (("Content-Type", "text/html"),)),
    Answer(500, b'{"error": {"message": "EsRejectedExecutionException[rejected execution of a bulk]", "code": 5000}}'),
    Answer(503, b'{"error": {"message": "NoMasterException[no master]", "code": 5030}}'),
)


class Faults:
    """ended: the workers that were asked to end, with what they said."""

    def __init__(self, rig: Rig, seed: int) -> None:
        self._rig = rig
        # Requests draw from dice of their own: how many there are depends on the machine, which fault comes next must not.
        self._rnd, self._chance = random.Random(f"{seed}/faults"), random.Random(f"{seed}/requests")
        self.ended: list[Done] = []

    def kinds(self) -> Sequence[Fault]:
        return (
            *(self.worker_killed, self.worker_terminated, self.worker_frozen, self.worker_frozen_past_session),
            *(self.worker_joins_and_leaves, self.worker_joins_and_is_killed),
            *(self.crate_frozen, self.crate_killed, self.crate_restarted, self.crate_is_sick),
            *(self.connections_cut, self.requests_cut, self.answers_delayed, self.crate_refuses_connections),
            *(self.broker_killed, self.broker_restarted, self.broker_frozen),
        )

    def drawn(self) -> Iterator[Fault]:
        """For ever; each kind comes once before any comes again."""
        while True:
            kinds = list(self.kinds())
            self._rnd.shuffle(kinds)
            yield from kinds

    # ------------------------------------------------------------ workers

    def worker_killed(self) -> None:
        """SIGKILL for a worker, another one starts at once."""
        self._kill(self._victim())
        self._rig.start_worker()

    def worker_terminated(self) -> None:
        """SIGTERM for a worker, another one starts when it has ended."""
        self._end(self._victim())
        self._rig.start_worker()

    def worker_frozen(self) -> None:
        """A worker stands still (SIGSTOP) for 1 to 6 s, within its session."""
        self._freeze(self._rnd.uniform(1, 6))

    def worker_frozen_past_session(self) -> None:
        """A worker stands still for longer than its session, and comes back as a zombie."""
        self._freeze(PAST_SESSION_S + self._rnd.uniform(0, 6))

    def worker_joins_and_leaves(self) -> None:
        """One more worker for 4 to 15 s, ended by SIGTERM."""
        self._end(self._guest())

    def worker_joins_and_is_killed(self) -> None:
        """One more worker for 4 to 15 s, ended by SIGKILL."""
        self._kill(self._guest())

    def _victim(self) -> Member:
        """One that may be touched."""
        others = [worker for worker in self._rig.running() if worker is not self._rig.workers[0]]
        return self._rnd.choice(others) if others else self._rig.start_worker()

    def _guest(self) -> Member:
        guest = self._rig.start_worker()
        self._sleep(4, 15)
        return guest

    def _kill(self, worker: Member) -> None:
        worker.kill()
        self._rig.watch.forget(worker.url)

    def _end(self, worker: Member) -> None:
        done = worker.stop()
        self._rig.watch.forget(worker.url)
        if done.log or done.answer:  # else it was still loading: it has read nothing and has no books
            self._rig.differences.extend(judge.books_of(done))
            self.ended.append(done)

    def _freeze(self, seconds: float) -> None:
        worker = self._victim()
        worker.freeze()
        try:
            time.sleep(seconds)
        finally:
            worker.thaw()

    # ------------------------------------------------------------ CrateDB and the way to it

    def crate_frozen(self) -> None:
        """CrateDB stands still (SIGSTOP) for 3 to 25 s."""
        server = self._rig.crate_server
        server.suspend()
        try:
            self._sleep(3, 25)
        finally:
            server.resume()

    def crate_killed(self) -> None:
        """SIGKILL for CrateDB, up to 8 s of nothing, and it starts again."""
        self._rig.crate_server.kill()
        self._sleep(0, 8)
        start(self._rig.crate_server)

    def crate_restarted(self) -> None:
        """CrateDB ends in good order and starts again."""
        self._rig.crate_server.stop()
        start(self._rig.crate_server)

    def crate_is_sick(self) -> None:
        """For 5 to 15 s, half of the requests are answered 429, 500, 502 or 503 in CrateDB's place."""
        self._under(lambda exchange: exchange.answer(self._chance.choice(SICK)))

    def connections_cut(self) -> None:
        """All connections to CrateDB are reset, one to five times, a second or two apart."""
        for _ in range(self._rnd.randint(1, 5)):
            self._rig.proxy.cut()
            self._sleep(0.5, 2)

    def requests_cut(self) -> None:
        """For 5 to 15 s, half of the requests are reset: before, in and after CrateDB's work, or in its answer."""
        cuts = (proxy.resetting, proxy.cut_in_request, proxy.cut_before_answer, proxy.cut_in_answer)
        self._under(lambda exchange: self._chance.choice(cuts)(exchange))

    def answers_delayed(self) -> None:
        """For 5 to 15 s, half of the answers are 0.1 to 5 s late."""
        self._under(proxy.delayed(0.1, 5, self._chance))

    def crate_refuses_connections(self) -> None:
        """Nobody listens at CrateDB's address for 2 to 12 s."""
        self._rig.proxy.refuse()
        try:
            self._sleep(2, 12)
        finally:
            self._rig.proxy.listen()

    def _under(self, rule: Rule) -> None:
        """Half of the requests meet the rule for a while."""

        def half(exchange: Exchange) -> None:
            (rule if self._chance.random() < 0.5 else proxy.passing)(exchange)

        self._rig.proxy.rule = half
        try:
            self._sleep(5, 15)
        finally:
            self._rig.proxy.rule = proxy.passing

    # ------------------------------------------------------------ Kafka

    def broker_killed(self) -> None:
        """SIGKILL for the broker, up to 8 s of nothing, and it starts again."""
        self._rig.kafka_server.kill()
        self._sleep(0, 8)
        start(self._rig.kafka_server)

    def broker_restarted(self) -> None:
        """The broker ends in good order and starts again."""
        self._rig.kafka_server.stop()
        start(self._rig.kafka_server)

    def broker_frozen(self) -> None:
        """The broker stands still for 3 to 20 s."""
        server = self._rig.kafka_server
        server.suspend()
        try:
            self._sleep(3, 20)
        finally:
            server.resume()

    def _sleep(self, least_s: float, most_s: float) -> None:
        time.sleep(self._rnd.uniform(least_s, most_s))


def start(server: Process) -> None:
    """Again if it did not come up: on a busy machine that takes longer than tests wait, which is no fault of the worker's."""
    for _ in range(STARTS - 1):
        with suppress(RuntimeError):
            server.start()
            return
    server.start()
