"""`ingest dlq replay`: the records of dead letters once more through the worker's own rooms, at their own positions.

What is refused again stays as it is and is told with its new reason; all else gets a receipt (kafka.receipts). The letters come
in lots that fit into memory, each through a loop of its own (tools.replay). The caller's thread, besides the writers'.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from time import time
from typing import Any, Final, NamedTuple

from ingest.errors import Parked, Reject
from ingest.flow.loop import Loop, World
from ingest.flow.parking import Place
from ingest.flow.ports import Decoder, Router
from ingest.kafka.letter_source import Held, LetterSource
from ingest.kafka.pace import Pace
from ingest.kafka.peek import Peek
from ingest.kafka.read_letters import ReadLetter, original, whole_at
from ingest.kafka.receipts import SKIPPED, STORED, ReceiptSender, Replay
from ingest.kafka.survey import Choice, Survey, lots, survey
from ingest.model import Decoded, Position, Record, Skip
from ingest.settings import Settings
from ingest.tools.connect import dead_letter_settings, kafka_settings
from ingest.tools.replay import OnProgress, ReplayPlan, Report, Watching, nobody, run_through, tell_formats
from ingest.tools.replay_rooms import KeptLetters
from ingest.tools.rooms import Rooms

# The records of a lot are in memory twice while they are under way: in the lot, and as rows.
LOT_SHARE: Final = 4
LEFT_KEPT: Final = 1_000
NO_SOURCE: Final = "the letter does not tell which record it is about: it was made neither by ingest nor by Kafka Connect"
GONE: Final = "the record was too large for its letter, and is in its topic no longer"
UNTOLD: Final = "topic {topic} holds no record that tells its format: set format in a contract that names the topic"


class Left(NamedTuple):
    """A letter that stays as it is, and why."""

    letter: Position
    source: Position | None
    code: str
    text: str
    table: str = ""
    column: str = ""


@dataclass(slots=True)
class Outcome:
    """What became of the letters. letters: so many were chosen, one about each record. before: others that were replayed earlier.

    left: the first of those that stay, codes: all of them, by their new reason. parked: by subject. was_stopped: by a signal.
    """

    letters: int = 0
    before: int = 0
    stored: int = 0
    superseded: int = 0
    skipped: int = 0
    left: list[Left] = field(default_factory=list)
    codes: Counter[str] = field(default_factory=Counter)
    parked: dict[str, Place] = field(default_factory=dict)
    was_stopped: bool = False
    is_dry: bool = False

    @property
    def done(self) -> int:
        return self.stored + self.superseded + self.skipped

    @property
    def waiting(self) -> int:
        """Letters that were not reached, because something is parked or a signal came."""
        return self.letters - self.done - self.codes.total()

    @property
    def is_fine(self) -> bool:
        return not (self.codes or self.waiting)

    def leave(self, *left: Left) -> None:
        """Keep these to be told; `codes` counts them."""
        self.left += left[: max(0, LEFT_KEPT - len(self.left))]

    def add(self, report: Report) -> None:
        self.codes.update(report.codes)
        self.stored += report.books.total("written")
        self.superseded += report.books.total("superseded")
        self.skipped += report.books.total("skipped")
        self.parked |= {place.subject: place for place in report.parked}
        self.was_stopped = report.was_stopped


def replay_letters(settings: Settings, choice: Choice, plan: ReplayPlan, on_progress: OnProgress = nobody) -> Outcome:
    """Replay what is chosen. Of the plan count rate, is_unordered and is_dry. Raises what `survey` and a worker raise."""
    with ExitStack() as stack:
        rooms = Rooms(settings)
        stack.callback(rooms.close)
        peek = stack.enter_context(Peek(kafka_settings(settings)))
        found = survey(peek, settings.dead_letter_topic, choice)
        outcome = Outcome(found.letters + found.stray_letters, found.before, is_dry=plan.is_dry)
        outcome.leave(*(Left(at, None, "replay.no_source", NO_SOURCE) for at in found.strays))
        outcome.codes += Counter({"replay.no_source": found.stray_letters})
        if found.letters:
            receipts = Sending(Replay(int(time() * 1000), found.ends))
            if not plan.is_dry:
                receipts.sender = ReceiptSender(dead_letter_settings(settings))
                stack.callback(receipts.sender.close)
            untold = frozenset(tell_formats(rooms, sorted(found.topics)))
            Replayer(rooms, peek, plan, receipts, untold).run(found, outcome, on_progress)
        return outcome


class Sending:
    """Sends receipts for all but what was refused again; for nothing as long as there is no sender."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay
        self.sender: ReceiptSender | None = None
        self.refused: Collection[Position] = ()
        self.skipped: set[Position] = set()

    def __call__(self, held: Held) -> Any | None:
        about = held.record.at
        if self.sender is None or about in self.refused:
            return None
        return self.sender.send(about, held.letter, self._replay, SKIPPED if about in self.skipped else STORED)


class Replayer:
    """Takes lot after lot through the rooms. untold: topics whose format nobody knows."""

    def __init__(self, rooms: Rooms, peek: Peek, plan: ReplayPlan, receipts: Sending, untold: Collection[str]) -> None:
        self._rooms, self._peek, self._plan, self._receipts, self._untold = rooms, peek, plan, receipts, untold
        self._pace = Pace(plan.rate)

    def run(self, found: Survey, outcome: Outcome, on_progress: OnProgress) -> None:
        for lot in lots(self._peek, found, self._rooms.settings.memory.high_bytes // LOT_SHARE):
            held = list(self._whole(lot, outcome))
            if held:
                self._replay(held, outcome, on_progress)
            if outcome.was_stopped:
                return

    def _whole(self, lot: Sequence[ReadLetter], outcome: Outcome) -> Iterator[Held]:
        """The letters' records; those that were too large for a letter are read where they stood, if they still do."""
        for letter in lot:
            record = original(letter) or whole_at(self._peek, letter)
            if record is None:
                outcome.leave(Left(letter.at, letter.source, "replay.gone", GONE, letter.table or ""))
                outcome.codes["replay.gone"] += 1
            else:
                yield Held(record, letter.at)

    def _replay(self, held: Sequence[Held], outcome: Outcome, on_progress: OnProgress) -> None:
        letters, receipts = KeptLetters(), self._receipts
        receipts.refused, receipts.skipped = letters.refused, set()
        source = LetterSource(held, receipts, self._pace)
        watching = Watching(outcome.letters, on_progress, self._rooms.settings.give_up_s, partial(progress, outcome))
        report = run_through(self._rooms, source, self._plan, watching, letters, self._dress)
        outcome.add(report)
        places = {each.record.at: each.letter for each in held}
        outcome.leave(*(Left(places[each.at], *each) for each in report.refusals))

    def _dress(self, world: World) -> World:
        """What would park a topic leaves only the letter, so that the others go on."""
        decoder = LetterDecoder(world.decoder, self._untold, self._receipts.skipped)
        return replace(world, decoder=decoder, router=LetterRouter(world.router))


def progress(outcome: Outcome, loop: Loop) -> int:
    """How many letters are done with, those of the lot that is under way included."""
    return outcome.done + outcome.codes.total() + loop.state.books.records.total()


class LetterDecoder:
    """A decoder that parks nothing. skipped: takes the positions of records that are no rows."""

    def __init__(self, decoder: Decoder, untold: Collection[str], skipped: set[Position]) -> None:
        self._decoder, self._untold, self._skipped = decoder, untold, skipped

    def decode(self, record: Record) -> Decoded:
        if record.topic in self._untold:
            raise Reject("replay.format_untold", UNTOLD.format(topic=record.topic))
        try:
            decoded = self._decoder.decode(record)
        except Parked as error:
            raise Reject(error.code, error.text) from error
        if isinstance(decoded, Skip):
            self._skipped.add(record.at)
        return decoded

    def express(self, *_: Any) -> None:
        """None: letters are few and odd."""


class LetterRouter:
    """A router that parks nothing."""

    def __init__(self, router: Router) -> None:
        self._router = router

    def route(self, topic: str, envelope_table: tuple[str, ...]) -> str:
        try:
            return self._router.route(topic, envelope_table)
        except Parked as error:
            raise Reject(error.code, error.text) from error
