"""What a worker costs for each record that it drains: its own CPU, CrateDB's, the time and the most memory, run after run.

    python bench/drain.py --kafka 127.0.0.1:9092 --crate http://127.0.0.1:4200 --stream mixed --runs 3
    python bench/drain.py --kafka 127.0.0.1:9092 --instant                      a store that answers at once: the worker alone
    python bench/drain.py --kafka 127.0.0.1:9092 --instant --profile 1.folded   with the stacks of the last run, by py-spy
    python bench/drain.py --kafka 127.0.0.1:9092 --instant --also ../before     the worker of another tree in turn with ours

The records are written to Kafka once; every run has a group and a table of its own. CPU is that of the whole
process: the worker's from start to end (--records 100 shows what of it is start), CrateDB's meanwhile. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

from kafka import KafkaAdminClient, KafkaProducer

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.servers import Sql, instant_store  # noqa: E402
from bench.streams import BARE_TYPES, COLUMNS, DAYS, FIRST_MS, debezium_payload, dumps  # noqa: E402
from ingest.tables.calendar_utc import MS_PER_DAY, month_of  # noqa: E402
from tests.oracle.worker import cpu_s, find_books, listener_on  # noqa: E402

RESULTS = ROOT / "bench" / "results"
PARTITIONS = 6
PACKAGES = ("kafka-python", "msgspec", "orjson", "urllib3")
MONTHS = sorted({month_of(FIRST_MS + day * MS_PER_DAY) for day in range(DAYS)})
DDL = ", ".join(f"{name} {'numeric(18, 2)' if type_ == 'numeric' else type_}" for name, type_ in COLUMNS.items())
TABLE = f"""CREATE TABLE "{{schema}}".orders (id bigint, {DDL}, month timestamp with time zone, cdc_version text,
    cdc_deleted boolean, PRIMARY KEY (id, month)) CLUSTERED BY (id) INTO 2 SHARDS PARTITIONED BY (month)
    WITH (number_of_replicas = 0)"""
CONTRACT = """table = "{schema}.orders"
topics = ["{topic}"]
key = ["id"]
partition = {{ column = "month", from = "created_at" }}
before = "full"
version = {{ from = "source", epoch = 1 }}
"""

# ---------------------------------------------------------------- the stream

Message = tuple[bytes, bytes | None]


def inserts(count: int) -> Iterator[Message]:
    for n in range(count):
        yield dumps({"id": n}), dumps(debezium_payload(n))


def mixed(count: int) -> Iterator[Message]:
    """60 % inserts, 35 % updates, 5 % deletes with an image of before; an empty value, one of the records, behind each delete."""
    rnd = random.Random(7)
    live: list[int] = []
    new = n = 0
    while n < count:
        what = rnd.random()
        if what < 0.6 or not live:
            key, op, new = new, "c", new + 1
            live.append(key)
        elif what < 0.95:
            key, op = rnd.choice(live), "u"
        else:
            at = rnd.randrange(len(live))
            live[at], live[-1] = live[-1], live[at]
            key, op = live.pop(), "d"
        yield dumps({"id": key}), change(op, key, n)
        n += 1
        if op == "d" and n < count:
            yield dumps({"id": key}), None
            n += 1


def change(op: str, key: int, n: int) -> bytes:
    """The n-th record, about this key: its place in the source and its quantity are the record's, the rest is the key's."""
    said, now = debezium_payload(key), debezium_payload(n)
    said |= {"op": op, "source": now["source"], "ts_ms": now["ts_ms"]}
    said["after"]["quantity"] = n % 1_000
    return dumps(said | {"before": said["after"], "after": None} if op == "d" else said)


STREAMS = {"insert": inserts, "mixed": mixed}


def produce(kafka: str, topic: str, messages: Iterator[Message]) -> None:
    """A new topic with these, every key always in the same partition."""
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    admin.create_topics({topic: {"num_partitions": PARTITIONS, "replication_factor": 1}})
    admin.close()
    producer = KafkaProducer(bootstrap_servers=kafka, compression_type="lz4", linger_ms=50, batch_size=262_144)
    for key, value in messages:
        producer.send(topic, value, key, partition=zlib.crc32(key) % PARTITIONS)
    producer.flush()
    producer.close()


def delete(kafka: str, topics: Sequence[str]) -> None:
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    there = set(admin.list_topics())
    admin.delete_topics([topic for topic in topics if topic in there])
    admin.close()


# ---------------------------------------------------------------- the store


def make_table(sql: Sql, schema: str, table: str = TABLE) -> None:
    """The table with all its months, each with one dead row: making them is not what is measured."""
    sql(table.format(schema=schema))
    for month in MONTHS:
        sql(f'INSERT INTO "{schema}".orders (id, month, cdc_version, cdc_deleted) VALUES (?, ?, ?, true)', [-1, month, "0"])


# ---------------------------------------------------------------- a run


@dataclass(frozen=True)
class Run:
    """Figures of one run; CPU in seconds per 100,000 records."""

    tree: str
    worker_cpu_s: float
    of_which_kernel_s: float
    crate_cpu_s: float | None
    took_s: float
    max_rss_mb: int
    requests: int
    books: Mapping[str, int]

    def __str__(self) -> str:
        crate = "" if self.crate_cpu_s is None else f"{self.crate_cpu_s:.2f}"
        worker = f"worker {self.worker_cpu_s:5.2f} (kernel {self.of_which_kernel_s:.2f})"
        rest = f"{self.took_s:5.1f} s {self.max_rss_mb:>4} MB {self.requests:>4} requests"
        settled = {name: n for name, n in self.books.items() if n}
        return f"{self.tree:<12} {worker}  store {crate:>6} {rest}  {settled}"


def requests_in(log: Path) -> int:
    """Statements that the worker sent with its batches."""
    lines = (json.loads(line) for line in log.read_text().splitlines() if '"event": "batch"' in line)
    return sum(int(line["statements"]) for line in lines)


@dataclass(frozen=True)
class Bench:
    kafka: str
    url: str
    count: int
    env: Mapping[str, str]
    table: str = TABLE
    rest_s: float = 0.0  # between making the table and the worker's start

    def run(self, tree: Path, topic: str, profile: str | None = None) -> Run:
        """One worker of this tree over the topic."""
        schema = f"drain{uuid.uuid4().hex[:8]}"
        sql = Sql(self.url)
        make_table(sql, schema, self.table)
        time.sleep(self.rest_s)
        try:
            with tempfile.TemporaryDirectory() as folder:
                return self._drained(tree, self.environment(Path(folder), schema, topic), Path(folder), profile)
        finally:
            sql(f'DROP TABLE "{schema}".orders')
            delete(self.kafka, [f"{schema}.dlq"])

    def _drained(self, tree: Path, env: Mapping[str, str], folder: Path, profile: str | None) -> Run:
        command = [sys.executable, "-m", "ingest", "run", "--until-caught-up"]
        if profile is not None:
            spy = str(Path(sys.executable).parent / "py-spy")
            command = [
                spy,
                "record",
                "--format",
                "raw",
                "--rate",
                "200",
                "--threads",
                "--nonblocking",
                "-o",
                profile,
                "--",
                *command,
            ]
        pid = listener_on(urlsplit(self.url).port or 4200)
        crate_cpu_s, began_s = cpu_s(pid), time.monotonic()
        with open(folder / "log", "wb") as log, open(folder / "answer", "wb") as answer:
            process = subprocess.Popen(command, cwd=tree, env={**os.environ, **env}, stdout=answer, stderr=log)
            _, status, used = os.wait4(process.pid, 0)
        took_s = time.monotonic() - began_s
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError(f"the worker ended with {process.returncode}:\n{(folder / 'log').read_text()[-2_000:]}")
        per = 100_000 / self.count
        return Run(
            tree.name,
            round((used.ru_utime + used.ru_stime) * per, 3),
            round(used.ru_stime * per, 3),
            round((cpu_s(pid) - crate_cpu_s) * per, 3) if pid is not None else None,
            round(took_s, 2),
            used.ru_maxrss // 1024,
            requests_in(folder / "log"),
            find_books((folder / "answer").read_text()),
        )

    def environment(self, folder: Path, schema: str, topic: str) -> dict[str, str]:
        schemas = folder / "schemas"
        schemas.mkdir()
        types = "".join(f'\n[columns.{name}]\ntype = "{type_}"\n' for name, type_ in BARE_TYPES.items())
        (schemas / "orders.toml").write_text(CONTRACT.format(schema=schema, topic=topic) + types)
        return {
            "INGEST_KAFKA_BOOTSTRAP_SERVERS": self.kafka,
            "INGEST_CRATE_URLS": self.url,
            "INGEST_GROUP_ID": schema,
            "INGEST_TOPICS": topic,
            "INGEST_SCHEMAS_DIR": str(schemas),
            "INGEST_HTTP_PORT": "0",
            "INGEST_LOG_FORMAT": "json",
            **self.env,
        }


def main() -> None:
    options = arguments().parse_args()
    env = dict(pair.split("=", 1) for pair in options.set)
    trees = [ROOT, *(Path(tree).resolve() for tree in options.also)]
    topic = f"drain-{uuid.uuid4().hex[:8]}"
    produce(options.kafka, topic, STREAMS[options.stream](options.records))
    with instant_store() if options.instant else nullcontext(options.crate) as url:
        bench = Bench(options.kafka, url, options.records, env)
        runs = []
        try:
            for number in range(options.runs):
                for tree in trees if number % 2 == 0 else reversed(trees):
                    runs.append(bench.run(tree, topic))
                    print(runs[-1], flush=True)
            if options.profile:
                print("profiled:", bench.run(ROOT, topic, str(Path(options.profile).resolve())))
        finally:
            delete(options.kafka, [topic])
    for tree in trees:
        print(middle(tree.name, [run for run in runs if run.tree == tree.name]))
    if options.keep:
        print(keep(options, runs))


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kafka", required=True, metavar="HOST:PORT")
    store = parser.add_mutually_exclusive_group(required=True)
    store.add_argument("--crate", metavar="URL")
    store.add_argument("--instant", action="store_true", help="a store that answers at once and keeps nothing")
    parser.add_argument("--stream", choices=sorted(STREAMS), default="mixed")
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--also", action="append", default=[], metavar="TREE", help="run that tree's worker in turn with ours")
    parser.add_argument("--set", action="append", default=[], metavar="INGEST_X=VALUE", help="a setting of the workers")
    parser.add_argument("--profile", metavar="FILE", help="one more run under py-spy; its folded stacks go to FILE")
    parser.add_argument("--keep", action="store_true", help="keep the raw figures in bench/results/")
    return parser


def middle(tree: str, runs: Sequence[Run]) -> str:
    worker = statistics.median(run.worker_cpu_s for run in runs)
    crate = [run.crate_cpu_s for run in runs if run.crate_cpu_s is not None]
    return (
        f"{tree}: median worker {worker:.2f}, store {statistics.median(crate) if crate else 0:.2f} s of CPU per 100,000 records"
    )


def keep(options: argparse.Namespace, runs: Sequence[Run]) -> Path:
    at = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    raw = {
        "at": at,
        "stream": options.stream,
        "records": options.records,
        "store": "instant" if options.instant else "cratedb",
        "settings": options.set,
        "runs": [asdict(run) for run in runs],
        "versions": {name: version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "cores": os.cpu_count(),
    }
    file = RESULTS / f"drain-{at}-{options.stream}-{raw['store']}.json"
    file.write_text(json.dumps(raw, indent=1) + "\n")
    return file.relative_to(ROOT)


if __name__ == "__main__":
    main()
