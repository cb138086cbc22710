"""What people ask Prometheus about the workers, asked of a real one that scrapes two real workers, against the truth.

The story is told once, in `Story.tell`: a first wave of records makes every series appear, then Prometheus begins to look, then
a second wave comes whose outcome the test knows. Then every query of docs/metrics.md is asked, and then the workers are stopped.
"""

from __future__ import annotations

import json
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer
from prometheus_client.parser import text_string_to_metric_families

from ingest.watch.queries import QUERIES
from ingest.watch.series import BATCH_SECONDS
from tests.integration.prometheus_rig import HOW_TO_GET_IT, SCRAPE_EVERY_S, Prometheus, is_there, promtool, running
from tests.integration.worker_rig import JAN_MS, Done, Running, Site, debezium, key_of, row_of, site_at, source_of, wait_until
from tests.oracle.kafka_io import read_letters
from tests.oracle.worker import cpu_s

pytestmark = [pytest.mark.kafka, pytest.mark.cratedb, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
RULES = ROOT / "docs" / "alerts.rules.yml"
WINDOW_S = 300  # of the rates in the queries
WRITERS = 3
GOOD, MALFORMED, MISFIT, FRESH, BLOCKED, PARKED_BEFORE, PARKED_AFTER, PARKED_LATE = 600, 12, 8, 400, 6, 3, 9, 5
LATE_S = 40.0
# The lag of what is parked: the truncate itself and what came behind it.
PARKED_LAG = 1 + PARKED_AFTER + PARKED_LATE
SOON_S = 60.0

if not is_there():
    pytest.skip(HOW_TO_GET_IT, allow_module_level=True)

Shown = dict[tuple[str, tuple[tuple[str, str], ...]], float]


class Story:
    """Two workers of one group and what was sent to them. before, after: what the workers showed around the second wave."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.numbers = count(1)
        self.before: list[Shown] = []
        self.after: list[Shown] = []
        self.letters: Counter[str] = Counter()
        self.answers: dict[str, Any] = {}
        self.cpu_before_s: dict[str, float] = {}
        self.began = ""

    # ------------------------------------------------------------ what is sent

    def send(self, table: str, messages: Sequence[tuple[bytes, bytes]]) -> None:
        """Half of them to each partition of the table's topic, if it has two."""
        producer = KafkaProducer(bootstrap_servers=self.site.kafka, linger_ms=20)
        topic = self.site.topic(table)
        partitions = 1 if table == "parked" else 2
        try:
            for number, (key, value) in enumerate(messages):
                producer.send(topic, value, key, partition=number % partitions)
            producer.flush(60)
        finally:
            producer.close()

    def rows(self, table: str, how_many: int, age_s: float = 0.0, **changes: Any) -> list[tuple[bytes, bytes]]:
        return [self.row(table, age_s, **changes) for _ in range(how_many)]

    def row(self, table: str, age_s: float, **changes: Any) -> tuple[bytes, bytes]:
        number = next(self.numbers)
        change = json.loads(debezium(table, number, row_of(number, **changes)))
        change["source"]["ts_ms"] = int((time.time() - age_s) * 1000)
        return key_of(number), json.dumps(change).encode()

    def truncate(self) -> tuple[bytes, bytes]:
        source = source_of("parked", next(self.numbers))
        change = {"before": None, "after": None, "source": source, "op": "t", "ts_ms": JAN_MS}
        return b"", json.dumps(change).encode()

    def wave(self, good: int, malformed: int, misfit: int, fresh: int, blocked: int) -> None:
        """Poison among good records; and rows for a table that cannot be written for a while."""
        late = [
            *self.rows("orders", good, LATE_S),
            *[(key_of(0), b"{broken")] * malformed,
            *self.rows("orders", misfit, n="no number"),
        ]
        self.send("orders", late)
        self.send("events", self.rows("events", fresh))
        retries = self.total("ingest_retries_total")
        self.site.crate.rows('ALTER TABLE stock SET ("blocks.write" = true)')
        self.send("stock", self.rows("stock", blocked))
        self.wait(lambda: self.total("ingest_retries_total") >= retries + blocked)
        self.site.crate.rows('ALTER TABLE stock RESET ("blocks.write")')

    # ------------------------------------------------------------ what is seen

    def shown(self) -> list[Shown]:
        return [shown_by(worker) for worker in self.workers]

    def total(self, name: str, **labels: str) -> float:
        return sum(total_of(each, name, labels) for each in self.shown())

    def delta(self, name: str, **labels: str) -> float:
        """How much a counter grew in the second wave, in both workers."""
        now, then = (sum(total_of(each, name, labels) for each in shown) for shown in (self.after, self.before))
        return now - then

    def wait(self, is_so: Callable[[], object]) -> None:
        wait_until(is_so, SOON_S, lambda: "\n".join(worker.log[-3000:] for worker in self.workers))

    def settled(self, written: Mapping[str, int]) -> bool:
        """Whether these are written and nothing is left to do, in one look at both."""
        shown = self.shown()
        full = {f"{self.site.name}.{table}": rows for table, rows in written.items()}
        done = {t: sum(total_of(s, "ingest_records_total", {"table": t, "outcome": "written"}) for s in shown) for t in full}
        return done == full and not sum(total_of(each, "ingest_unsettled_records", {}) for each in shown)

    # ------------------------------------------------------------ the story

    def tell(self, folder: Path) -> Iterator[Story]:
        settings = {"log_format": "json", "writers": str(WRITERS)}
        self.workers: list[Running] = [self.site.start(**settings) for _ in range(2)]
        try:
            self.wait(lambda: sorted(each.readiness().get("assigned", 0) for each in self.workers)[0] > 0)
            self.wait(lambda: sum(each.readiness().get("assigned", 0) for each in self.workers) == 7)
            self.wave(good=6, malformed=2, misfit=2, fresh=6, blocked=4)
            self.wait(lambda: self.settled({"orders": 6, "events": 6, "stock": 4}))
            with running(folder, [each.url.removeprefix("http://") for each in self.workers], RULES) as prometheus:
                self.second_wave(prometheus)
                self.ask_all(prometheus)
                self.leave(prometheus)
                yield self
        finally:
            for worker in self.workers:
                worker.stop()

    def second_wave(self, prometheus: Prometheus) -> None:
        self.wait(lambda: prometheus.ask("sum(count_over_time(ingest_ready[1m]))")[:1] > [({}, 5.0)])
        self.before, self.letters = self.shown(), self.codes()
        self.cpu_before_s = {address: cpu_s(pid) for address, pid in self.pids()}
        self.began = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
        self.wave(GOOD, MALFORMED, MISFIT, FRESH, BLOCKED)
        self.send("parked", [*self.rows("parked", PARKED_BEFORE), self.truncate(), *self.rows("parked", PARKED_AFTER)])
        self.wait(lambda: self.total("ingest_parked") == 1)
        self.send("parked", self.rows("parked", PARKED_LATE))  # after this the client of the worker reads nothing of it
        self.wait(lambda: self.total("ingest_lag_records") == PARKED_LAG)
        self.wait(lambda: self.settled({"orders": 6 + GOOD, "events": 6 + FRESH, "stock": 4 + BLOCKED, "parked": PARKED_BEFORE}))
        time.sleep(3 * SCRAPE_EVERY_S)  # until Prometheus has seen it

    def ask_all(self, prometheus: Prometheus) -> None:
        self.answers = {query.name: prometheus.ask(query.promql) for query in QUERIES}
        self.now = prometheus.by("sum by (table, outcome) (ingest_records_total)", "table", "outcome")
        self.now_retries = prometheus.by("sum by (code) (ingest_retries_total)", "code")
        self.holders = prometheus.by("count by (topic, partition) (ingest_lag_records)", "topic", "partition")
        self.rules = [rule for group in prometheus.get("/api/v1/rules")["groups"] for rule in group["rules"]]
        self.after = self.shown()
        self.sent = self.codes() - self.letters
        self.cpu_s = {address: cpu_s(pid) - self.cpu_before_s[address] for address, pid in self.pids()}
        self.rss_bytes = {address: rss_bytes(pid) for address, pid in self.pids()}
        self.ready = [worker.readiness()["ready"] for worker in self.workers]
        self.texts = [fetch(worker, "") for worker in self.workers]
        self.openmetrics = fetch(self.workers[0], "application/openmetrics-text;version=1.0.0")

    def leave(self, prometheus: Prometheus) -> None:
        """The second worker goes, the first has all; then it goes, too."""
        first, second = self.workers
        self.gone = self.address(second)
        self.dones: list[Done] = [second.stop()]
        self.wait(lambda: first.readiness().get("assigned") == 7)
        self.wait(lambda: prometheus.ask("count(ingest_lag_records)")[:1] == [({}, 7.0)])
        self.lag_after = prometheus.by("ingest_lag_records", "instance", "topic", "partition")
        self.came_after = prometheus.by('sum by (event) (increase(ingest_rebalances_total{event="assigned"}[1h]))', "event")
        self.dones.append(first.stop())

    def codes(self) -> Counter[str]:
        letters = (letter for _, letter in read_letters(self.site.kafka, f"{self.site.name}.dlq"))
        return Counter(dict(letter.headers)["ingest.code"].decode() for letter in letters)

    def pids(self) -> Iterator[tuple[str, int]]:
        return ((self.address(worker), worker.pid) for worker in self.workers)

    def table(self, name: str) -> str:
        return f"{self.site.name}.{name}"

    @staticmethod
    def address(worker: Running) -> str:
        return worker.url.removeprefix("http://")

    def batches(self, table: str) -> list[dict[str, Any]]:
        """The lines of the table's batches in the second wave."""
        return [each for each in self.all_batches(table) if each["time"] >= self.began]

    def all_batches(self, table: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for done in self.dones for line in done.log.splitlines()]
        return [each for each in lines if each["event"] == "batch" and each["table"] == self.table(table)]


def fetch(worker: Running, accept: str) -> str:
    request = urllib.request.Request(f"{worker.url}/metrics", headers={"Accept": accept})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
        return str(answer.read().decode())


def shown_by(worker: Running) -> Shown:
    families = text_string_to_metric_families(fetch(worker, ""))
    return {(each.name, tuple(sorted(each.labels.items()))): each.value for family in families for each in family.samples}


def total_of(shown: Shown, name: str, labels: Mapping[str, str]) -> float:
    return sum(value for (each, has), value in shown.items() if each == name and labels.items() <= dict(has).items())


def rss_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


@pytest.fixture(scope="module")
def story(kafka_address: str, crate_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("prometheus")
    with site_at(kafka_address, crate_url, folder) as site:
        site.make("orders", "events", "stock", partitions=2)
        site.make("parked")
        yield from Story(site).tell(folder)


# ---------------------------------------------------------------- each query against the truth


def is_growth(rate: float, grown: float) -> bool:
    """Whether a rate over WINDOW_S says that a counter grew by so much. Prometheus extrapolates by up to a scrape and a half, of
    the half minute at least that it has looked."""
    return 0.99 * grown <= WINDOW_S * rate <= 1.12 * grown


def by(answer: list[Any], *labels: str) -> dict[Any, float]:
    keys = [tuple(labels_of.get(label, "") for label in labels) for labels_of, _ in answer]
    return {key[0] if len(key) == 1 else key: value for key, (_, value) in zip(keys, answer, strict=True)}


def only(answer: list[Any]) -> float:
    ((_, value),) = answer
    return float(value)


def intake(story: Story, answer: list[Any]) -> None:
    assert is_growth(only(answer), story.delta("ingest_records_read_total"))


def outcomes(story: Story, answer: list[Any]) -> None:
    found = by(answer, "table", "outcome")
    expected = {
        (story.table("orders"), "written"): GOOD,
        (story.table("orders"), "dead_lettered"): MISFIT,
        ("", "dead_lettered"): MALFORMED,
        (story.table("events"), "written"): FRESH,
        (story.table("stock"), "written"): BLOCKED,
    }
    assert dict.fromkeys(expected, True) == {key: is_growth(found[key], grown) for key, grown in expected.items()}
    assert 0 == found[story.table("orders"), "superseded"]


def error_ratio(story: Story, answer: list[Any]) -> None:
    bad = MALFORMED + MISFIT
    assert only(answer) == pytest.approx(bad / (GOOD + bad + FRESH + BLOCKED + PARKED_BEFORE), rel=0.05)


def dead_letters(story: Story, answer: list[Any]) -> None:
    found = by(answer, "code")
    assert {MALFORMED, MISFIT} == set(story.sent.values())
    assert found.keys() == story.sent.keys()
    assert all(is_growth(found[code] / WINDOW_S, n) for code, n in story.sent.items())


def lag(story: Story, answer: list[Any]) -> None:
    topics = {story.site.topic(table): 0 for table in ("orders", "events", "stock")}
    assert topics | {story.site.topic("parked"): PARKED_LAG} == by(answer, "topic")


def lag_worst(story: Story, answer: list[Any]) -> None:
    assert {(story.site.topic("parked"), "0"): PARKED_LAG} == by(answer, "topic", "partition")


def lag_seconds(story: Story, answer: list[Any]) -> None:
    assert only(answer) == pytest.approx(PARKED_LAG / (story.delta("ingest_records_read_total") / WINDOW_S), rel=0.12)


def freshness(story: Story, answer: list[Any]) -> None:
    found = by(answer, "table")
    assert 15 < found[story.table("orders")] <= 60  # the bucket that LATE_S is in
    assert found[story.table("events")] <= 15


def parked(story: Story, answer: list[Any]) -> None:
    assert {(f"topic:{story.site.topic('parked')}", "topic.truncate"): 1} == by(answer, "subject", "code")


def paused(story: Story, answer: list[Any]) -> None:
    assert {"parked": 1, "pressure": 0, "waiting": 0} == by(answer, "reason")


def batch_seconds_p99(story: Story, answer: list[Any]) -> None:
    # The window may reach back to scrapes from before the first wave had ended.
    worst_s = max(each["took_ms"] for each in story.all_batches("orders")) / 1000
    bound_s = next((bound for bound in BATCH_SECONDS.buckets if bound >= worst_s), BATCH_SECONDS.buckets[-1])
    assert 0 < by(answer, "table")[story.table("orders")] <= bound_s


def batch_seconds(story: Story, answer: list[Any]) -> None:
    for table in ("orders", "events"):
        took_s = [each["took_ms"] / 1000 for each in story.batches(table)]
        assert by(answer, "table")[story.table(table)] == pytest.approx(sum(took_s) / len(took_s), rel=0.06, abs=0.001)


def batch_rows(story: Story, answer: list[Any]) -> None:
    for table in ("orders", "events"):
        rows = [each["rows"] for each in story.batches(table)]
        assert by(answer, "table")[story.table(table)] == pytest.approx(sum(rows) / len(rows), rel=0.06)


def retries(story: Story, answer: list[Any]) -> None:
    grown = story.delta("ingest_retries_total", code="store.blocked")
    assert grown >= BLOCKED
    assert is_growth(by(answer, "code")["store.blocked"], grown)


def permits(story: Story, answer: list[Any]) -> None:
    assert [WRITERS, WRITERS] == [total_of(each, "ingest_permits_limit", {}) for each in story.after]
    assert only(answer) == pytest.approx(sum(total_of(each, "ingest_permits", {}) for each in story.after) / (2 * WRITERS))


def in_flight(story: Story, answer: list[Any]) -> None:
    assert 0 == only(answer)


def memory(story: Story, answer: list[Any]) -> None:
    assert by(answer, "instance") == pytest.approx(story.rss_bytes, rel=0.1)


def cpu(story: Story, answer: list[Any]) -> None:
    used_s = {instance: WINDOW_S * rate for instance, rate in by(answer, "instance").items()}
    assert used_s == pytest.approx(story.cpu_s, rel=0.2, abs=0.5)


def pressure(story: Story, answer: list[Any]) -> None:
    assert {0.0} == set(by(answer, "instance").values())


def partitions(story: Story, answer: list[Any]) -> None:
    assert 2 == len(answer)
    assert 7 == sum(by(answer, "instance").values())


def commits(story: Story, answer: list[Any]) -> None:
    found = by(answer, "result")
    assert is_growth(found["ok"], story.delta("ingest_commits_total", result="ok"))
    assert 0 == found["failed"]


def rebalances(story: Story, answer: list[Any]) -> None:
    assert {"assigned": 0, "revoked": 0, "lost": 0} == by(answer, "event")


def not_ready(story: Story, answer: list[Any]) -> None:
    assert story.ready.count(False) == len(answer)


def versions(story: Story, answer: list[Any]) -> None:
    assert {version("cratedb-ingest"): 2} == by(answer, "version")


def books(story: Story, answer: list[Any]) -> None:
    assert [0, 0] == list(by(answer, "instance").values())


TRUTHS: Mapping[str, Callable[[Story, list[Any]], None]] = {
    each.__name__: each
    for each in (
        intake, outcomes, error_ratio, dead_letters, lag, lag_worst, lag_seconds, parked, paused, batch_seconds_p99,
        batch_seconds, batch_rows, retries, permits, in_flight, memory, cpu, pressure, partitions, commits, rebalances,
        not_ready, versions, books,
    )
} | {"freshness_p50": freshness, "freshness_p99": freshness}  # fmt: skip


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.name)
def test_prometheus_answers_with_the_truth(query: Any, story: Story) -> None:
    TRUTHS[query.name](story, story.answers[query.name])


# ---------------------------------------------------------------- what else it must be


def test_the_totals_are_those_of_the_tables_and_of_the_books_at_the_end(story: Story) -> None:
    printed: Counter[tuple[str, str]] = Counter()
    for done in story.dones:
        for table, ends in done.answer["tables"].items():
            printed.update({("" if table == "(none)" else table, end): n for end, n in ends.items()})
    shown = {key: n for key, n in story.now.items() if n and key[1] != "handed_back"}
    assert dict(printed) == shown
    stored = {table: len(story.site.column(table)) for table in ("orders", "events", "stock", "parked")}
    assert {table: shown[story.table(table), "written"] for table in stored} == stored


def test_retries_are_those_of_the_books(story: Story) -> None:
    printed: Counter[str] = Counter()
    for done in story.dones:
        printed.update(done.answer["retries"])
    assert story.now_retries == printed


def test_a_partition_is_shown_by_the_worker_that_holds_it_and_by_no_other(story: Story) -> None:
    assert {1.0} == set(story.holders.values())
    assert 7 == len(story.holders)
    assert story.gone not in {instance for instance, _, _ in story.lag_after}
    assert story.lag_after.keys() >= {(instance, *key) for instance, _, _ in story.lag_after for key in story.holders}
    assert story.came_after["assigned"] >= 1


def test_the_alerts_say_what_is_wrong_and_nothing_else(story: Story) -> None:
    assert {"ok"} == {rule["health"] for rule in story.rules}
    assert {"IngestParked", "IngestDeadLetters"} == {rule["name"] for rule in story.rules if rule["state"] == "firing"}


def test_promtool_finds_nothing_to_say_about_the_metrics(story: Story) -> None:
    for text in story.texts:
        checked = promtool("check", "metrics", stdin=text)
        assert (0, "", "") == (checked.returncode, checked.stdout, checked.stderr)


def test_who_asks_for_openmetrics_gets_it(story: Story) -> None:
    assert story.openmetrics.endswith("# EOF\n")


def test_labels_hold_nothing_of_the_rows(story: Story) -> None:
    assert not [text for text in story.texts if "no number" in text or "row 1" in text]
    assert all(text.count("\n") < 600 for text in story.texts)


def test_the_alert_rules_are_well_formed() -> None:
    checked = promtool("check", "rules", str(RULES))
    assert 0 == checked.returncode, checked.stdout + checked.stderr


def test_each_alert_fires_when_it_should_and_not_when_all_is_well() -> None:
    cases = Path(__file__).with_name("alerts.test.yml")
    checked = promtool("test", "rules", str(cases))
    assert 0 == checked.returncode, checked.stdout + checked.stderr
    tested = {line.split()[-1] for line in RULES.read_text().splitlines() if "- alert:" in line}
    assert not [name for name in tested if cases.read_text().count(name) < 2], "each is tested quiet and firing"
