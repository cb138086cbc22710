"""The loop over dead letters: each that is settled gets its receipt, those that are refused again get none, whatever happens."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import replace

import pytest
from kafka import errors as client

from ingest.flow.caught_up import CaughtUp
from ingest.flow.lanes import BatchRules
from ingest.flow.loop import Loop
from ingest.flow.state import Rules
from ingest.kafka.letter_source import Held, LetterSource
from ingest.kafka.pace import Pace
from ingest.model import Batch, Fate, Outcome, Partition, Position, Record, Result
from ingest.tools.replay_rooms import KeptLetters
from tests.flow.twins import Rig


class Promise:
    """The client's future: done after some looks, failed or not."""

    def __init__(self, looks: int = 0, exception: Exception | None = None) -> None:
        self._looks, self.exception = looks, exception

    @property
    def is_done(self) -> bool:
        self._looks -= 1
        return self._looks < 0

    def failed(self) -> bool:
        return self.exception is not None


class Desk:
    """A loop over letters. acknowledged: receipts that are safe, by what they are about."""

    def __init__(self, rows: dict[tuple[str, int], object], chance: random.Random | None = None) -> None:
        self.rig, self.chance, self.letters = Rig(), chance or random.Random(0), KeptLetters()
        self.acknowledged: Counter[Position] = Counter()
        self.trouble = 0.0
        held = [
            Held(Record(topic, 0, offset, offset, b"k", json.dumps(row).encode()), Position("dlq", 0, number))
            for number, ((topic, offset), row) in enumerate(rows.items())
        ]
        self.source = LetterSource(held, self.send, Pace(None))
        world = replace(self.rig.loop.world, source=self.source, dead_letters=self.letters)
        self.rig.loop = Loop(world, Rules(commit_every_s=0.05, dlq_max_ratio=1.0, batch=BatchRules(max_rows=3)))

    def send(self, held: Held) -> Promise | None:
        about = held.record.at
        if about in self.letters.refused:
            return None
        if self.chance.random() < self.trouble:
            if self.chance.random() < 0.3:
                raise client.KafkaTimeoutError("scripted")
            return Promise(self.chance.randrange(3), client.NotLeaderForPartitionError())
        self.acknowledged[about] += 1
        return Promise(self.chance.randrange(3))

    def step(self, steps: int = 1) -> None:
        for _ in range(steps):
            self.source.wake()  # no step waits
            self.rig.loop.step()
            self.rig.clock.now_s += 0.02
            self.rig.check_books()

    def run(self, steps: int = 3_000) -> Desk:
        self.source.start(self.rig.loop)
        is_done = CaughtUp(60.0)
        for _ in range(steps):
            self.step()
            if is_done(self.rig.loop):
                return self
        raise AssertionError("the letters did not come to an end")


def row(k: int, n: int, v: str = "a") -> dict[str, object]:
    return {"k": k, "n": n, "v": v}


def test_letters_with_gaps_between_them_of_several_topics_are_written_and_get_receipts() -> None:
    desk = Desk({("t", 5): row(1, 5), ("t", 900): row(2, 9), ("t", 6): row(1, 6, "b")}).run()
    assert {(1,): (1, "b"), (2,): (1, "a")} == desk.rig.store.live()
    assert {Position("t", 0, offset): 1 for offset in (5, 6, 900)} == dict(desk.acknowledged)
    assert {Partition("t", 0): 901} == desk.source.reached


def test_what_is_refused_again_gets_no_receipt() -> None:
    desk = Desk({("t", 5): row(1, 5), ("t", 6): row(2, 6, "unmappable"), ("t", 7): row(3, 7, "poison")}).run()
    assert {Position("t", 0, 5): 1} == dict(desk.acknowledged)
    assert {"type.overflow": 1, "store.value_refused": 1} == dict(desk.letters.codes)


def test_a_letter_older_than_the_row_is_superseded_and_done() -> None:
    desk = Desk({("t", 5): row(1, 5, "old")})
    desk.rig.store.rows["doc.t", (1,), 1] = (f"{9:09d}{900:09d}", False, "new")
    desk.run()
    assert ({(1,): (1, "new")}, 1) == (desk.rig.store.live(), desk.acknowledged.total())


def test_no_receipt_is_sent_before_its_record_is_settled() -> None:
    desk = Desk({("t", 5): row(1, 5)})
    desk.rig.store.faults = [blocked] * 10_000
    with pytest.raises(AssertionError, match="did not come to an end"):
        desk.run(200)
    assert not desk.acknowledged
    desk.rig.store.faults.clear()
    desk.rig.clock.now_s += 60
    desk.step(50)
    assert {Position("t", 0, 5): 1} == dict(desk.acknowledged)


def blocked(batch: Batch) -> Result:
    return Result(batch, [Outcome(Fate.RETRY, "store.blocked")] * len(batch.changes))


def test_receipts_that_fail_are_sent_again_and_the_trouble_is_told() -> None:
    desk = Desk({("t", 5): row(1, 5)})
    desk.trouble = 1.0
    with pytest.raises(AssertionError, match="did not come to an end"):
        desk.run(50)
    assert desk.source.is_healthy() == (False, desk.source.is_healthy()[1])
    assert "receipts of replayed letters cannot be sent" in desk.source.is_healthy()[1]
    assert {Partition("t", 0): 5} == desk.source.reached
    desk.trouble = 0.0
    desk.step(50)
    assert ((True, ""), {Partition("t", 0): 6}) == (desk.source.is_healthy(), desk.source.reached)


@pytest.mark.parametrize("seed", range(30))
def test_whatever_the_store_and_kafka_do_every_letter_ends_and_none_is_forgotten(seed: int) -> None:
    chance = random.Random(seed)
    bad = ("unmappable", "poison")
    rows = {
        ("t", offset): row(chance.randrange(6), offset, chance.choice(["a", "b", "c", *bad]))
        for offset in sorted(chance.sample(range(500), 40))
    }
    desk = Desk(dict(chance.sample(list(rows.items()), len(rows))), chance)
    desk.trouble = 0.1
    desk.rig.store.faults = [blocked if chance.random() < 0.3 else passing for _ in range(100)]
    desk.run()
    done, refused = set(desk.acknowledged), desk.letters.refused
    assert not done & refused
    assert {Position(topic, 0, offset) for topic, offset in rows} == done | refused
    for (topic, offset), each in rows.items():
        newer = [other for (_, at), other in rows.items() if at > offset and other["k"] == each["k"] and other["v"] not in bad]
        if each["v"] == "unmappable":
            assert Position(topic, 0, offset) in refused
        elif each["v"] != "poison" or not newer:  # a poison under a newer change of its key may never reach the store
            assert (each["v"] == "poison") == (Position(topic, 0, offset) in refused)
    newest = {row_["k"]: row_["v"] for _, row_ in sorted(rows.items()) if row_["v"] not in bad}
    assert {(k,): (1, v) for k, v in newest.items()} == desk.rig.store.live()


def passing(_: Batch) -> Result | None:
    return None
