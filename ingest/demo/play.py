"""The play itself, act by act, on a stage that is set. Main thread only, but for the feed that it starts."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from ingest.demo import clients, keep, report, stage
from ingest.demo.books import books_of
from ingest.demo.children import INGEST, Children
from ingest.demo.judge import judge
from ingest.demo.look import Board, Lookout, Seat, free_port
from ingest.demo.metrics import Buckets
from ingest.demo.patience import Patience
from ingest.demo.producer import CHUNK, Feed, Writer, now_ms
from ingest.demo.screen import Screen
from ingest.demo.site import LETTERS, SESSION_MS, Site
from ingest.demo.stream import Stream
from ingest.errors import Stop

LOOK_EVERY_S = 0.4
# Of all records, so many have piled up when the workers start; a burst comes just before the kill, the rest while they run.
BACKLOG_PART, BURST_PART, FEED_PART = 0.7, 0.1, 0.2
FEED_S = 14.0
CALM_S = 3.0
# In the middle of a burst some records are written and not committed yet.
INTO_THE_BURST_S = 0.5
# What is left alone for so long will not happen; a demo that hangs helps nobody.
ACT_WITHIN_S, RECORDS_PER_S = 60.0, 300


class Play:
    """One showing. records: how many are written, about. stays: everything is left running at the end, for a look around."""

    def __init__(self, site: Site, screen: Screen, children: Children, patience: Patience, records: int, *, stays: bool) -> None:
        self._site, self._screen, self._children, self._patience = site, screen, children, patience
        self._records, self._stays = records, stays
        self._stream = Stream(site.topics, now_ms())
        self._seats: list[Seat] = []
        self._calm: Buckets = Buckets()

    def play(self) -> int:
        """The exit code: 0 when the tables are what they must be, 1 when not."""
        self._show_the_stage()
        self._make_tables()
        writer = Writer(self._site)
        try:
            self._pile_up(writer)
            self._check()
            return self._work(writer)
        finally:
            self._screen.rest()
            writer.close()

    # ------------------------------------------------------------ before the workers

    def _show_the_stage(self) -> None:
        site, screen = self._site, self._screen
        screen.open(
            "Two workers take the changes of three sources from Kafka into tables, one of them is killed on the way, and at the",
            "end everything is compared with what the sources know. It takes about half a minute; Ctrl-C ends it.",
        )
        if site.is_ours:
            screen.step("Two small servers of our own")
            screen.say(
                f"A Kafka broker at {site.kafka} and a store that answers like CrateDB at {site.crate}. They are for practice:",
                "in memory, in processes of their own, gone when the demo ends. The workers are the real ones.",
            )
        else:
            screen.step("Your servers")
            screen.say(f"Kafka at {site.kafka}, CrateDB at {site.crate}. Everything that the demo makes there is called demo.")
        stage.make_topics(site)

    def _make_tables(self) -> None:
        self._screen.step("ingest migrate: the tables")
        done = self._children.run("migrate", ["migrate"], self._site.environment(), self._patience)
        self._screen.say(
            f"Numbered SQL files make the tables, each statement once: {done.splitlines()[-1]}.",
            "demo.orders and demo.readings are partitioned by month. That is all a table needs: columns are matched by name.",
        )

    def _pile_up(self, writer: Writer) -> None:
        stream, topics = self._stream, self._site.topics
        self._screen.step("Three sources write into Kafka")
        writer.write(stream.beginning(now_ms()))
        while stream.truth.records < self._records * BACKLOG_PART:
            self._patience.check()
            writer.write(stream.take(CHUNK, now_ms()))
        writer.flush()
        count = {topic: sum(n for (name, _), n in stream.truth.written.items() if name == topic) for topic in topics}
        stock = count[topics.products] + count[topics.inventory]
        report.sources(self._screen, [
            (f"{topics.products}, {topics.inventory}", "CockroachDB changefeeds", stock),
            (topics.orders, "Debezium, JSON", count[topics.orders]),
            (topics.sensors, "sensor events, Avro, no key", count[topics.sensors]),
        ])  # fmt: skip
        self._screen.say(
            f"Among them {len(stream.truth.letters)} records that no table can hold. The sources go on writing from now on."
        )

    def _check(self) -> None:
        self._screen.step("ingest check: can it work?")
        found = self._children.run("check", ["check"], self._site.environment(), self._patience).splitlines()
        warnings = [line for line in found if " WARN " in line]
        about = "settings, Kafka, CrateDB, contracts and tables"
        self._screen.say(f"{len(found)} findings about {about}; none fails, {len(warnings)} warn:")
        for warning in warnings:
            self._screen.note(" ".join(warning.split()), "dim")
        if warnings and all("demo.readings" in warning for warning in warnings):
            self._screen.say("Readings never change, so that does no harm here.")

    # ------------------------------------------------------------ the workers

    def _work(self, writer: Writer) -> int:
        self._screen.step("ingest run, twice: two workers of one group share the partitions")
        self._screen.say(
            "Each commits an offset only when every record up to it is written, or a dead letter. Lag: records not committed yet."
        )
        for number in (1, 2):
            self._start_worker(number)
        feed = Feed(writer, self._stream, self._records * FEED_PART / FEED_S)
        feed.start()
        try:
            with Lookout(self._site, self._seats, self._screen.elapsed_s) as lookout:
                self._catch_up(lookout, feed)
                self._lose_one(lookout, feed)
                board = self._finish(lookout, feed, writer)
                return self._show_results(lookout, board)
        finally:
            feed.abandon()

    def _start_worker(self, number: int) -> None:
        port = free_port()
        child = self._children.start(f"worker-{number}", [*INGEST, "run"], self._site.environment(INGEST_HTTP_PORT=str(port)))
        self._seats.append(Seat(number, child, port))

    def _catch_up(self, lookout: Lookout, feed: Feed) -> None:
        self._watch(lookout, lambda board: board.lag <= feed.usual_lag and board.readers == {1, 2}, "caught up")
        before = lookout.board().freshness()
        until_s = monotonic() + CALM_S
        board = self._watch(lookout, lambda _: monotonic() > until_s, "gone on")
        self._calm = board.freshness() - before
        self._screen.rest(board)

    def _lose_one(self, lookout: Lookout, feed: Feed) -> None:
        """Kill a worker while records flow, and see the other one take over."""
        victim = self._seats[1]
        feed.burst(round(self._records * BURST_PART))
        until_s = monotonic() + INTO_THE_BURST_S
        board = self._watch(lookout, lambda _: monotonic() > until_s, "gone on")
        victim.child.kill()
        victim.killed_s = board.at_s
        self._screen.step("kill -9: one worker dies while records flow")
        self._screen.say(
            f"Worker {victim.number} is gone without a word. What it wrote and had not committed will be read again and",
            "change nothing, because a row keeps its newest version.",
            f"Kafka notices after {SESSION_MS // 1000} s; then worker 1 takes over.",
        )
        board = self._watch(lookout, lambda board: board.lag <= feed.usual_lag and board.readers == {1}, "taken over")

    def _finish(self, lookout: Lookout, feed: Feed, writer: Writer) -> Board:
        """The last records are written; wait until all are done."""
        feed.finish()
        writer.write(self._stream.ending(now_ms()))
        writer.flush()
        self._watch(lookout, lambda board: board.lag == 0, "finished")
        lookout.all_letters()
        board = lookout.board()
        self._screen.rest(board)
        return board

    def _watch(self, lookout: Lookout, is_done: Callable[[Board], bool], what: str) -> Board:
        """Look again and again until it is done. Raises Stop when a worker ends by itself, or nothing comes of it."""
        deadline_s = monotonic() + ACT_WITHIN_S + self._records / RECORDS_PER_S
        while True:
            board = lookout.board()
            self._screen.board(board)
            if is_done(board):
                return board
            for seat in self._seats:
                if not seat.is_alive and seat.killed_s is None:
                    raise Stop("demo.worker", f"worker {seat.number} ended by itself: {seat.child.last_words()}")
            if monotonic() > deadline_s:
                text = f"the workers have not {what} in time, {board.lag} records are left: is this machine busy?"
                raise Stop("demo.slow", text)
            self._patience.pause(LOOK_EVERY_S)

    # ------------------------------------------------------------ what came of it

    def _show_results(self, lookout: Lookout, board: Board) -> int:
        books = books_of(self._seats, self._patience, are_running=self._stays)
        letters, truth = lookout.letters, self._stream.truth
        with clients.crate(self._site) as client:
            verdict = judge(client, truth, letters, board, list(books.values()))
            report.tables(self._screen, client, verdict)
            report.life(self._screen, client, self._stream.shop.life)
        report.letters(self._screen, letters, LETTERS, {kind.code: kind.what for kind in self._stream.spoiler.kinds})
        report.books(self._screen, books)
        report.freshness(self._screen, self._calm, board.freshness())
        report.verdict(self._screen, verdict, truth)
        if self._stays:
            keep.stay(self._site, self._screen, self._seats, self._stream.shop.life[0], self._patience)
        else:
            report.next_commands(self._screen)
        return 1 if verdict.differences else 0
