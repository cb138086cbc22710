"""What settings of a table save of CrateDB's CPU while a worker writes it: each beside the table as it is proposed, in turn.

    python -m bench.table_settings                          three rounds of 100,000 records, 60/35/5, 24 months
    python -m bench.table_settings --only "refresh 30 s;4 shards a month" --rounds 5 --publish

The JVM goes on learning from run to run, so each round goes through the tables in the other direction. Linux only.
"""

from __future__ import annotations

import argparse
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from statistics import median

from bench import report
from bench.drain import ROOT, STREAMS, TABLE, Bench, Run, delete, produce
from bench.servers import own_servers
from bench.streams import COLUMNS
from tests.server_processes import KAFKA_VERSION

AS_PROPOSED = "as proposed"
UNSEARCHED = "as proposed, not searched for 35 s"
IDLE_S = 35.0  # CrateDB does not refresh a shard that nobody searched for 30 s, unless its table has an interval of its own
OFF = "INDEX OFF"


def with_words(text: str, words: str, of: Sequence[str] = ("text",)) -> str:
    """The statement with words behind the columns of these types, the system columns left alone."""
    for name, type_ in COLUMNS.items():
        if type_ in of:
            text = text.replace(f"{name} {type_},", f"{name} {type_} {words},")
    return text


def with_options(text: str, options: str) -> str:
    return text.replace("(number_of_replicas = 0)", f"(number_of_replicas = 0, {options})")


TABLES: Mapping[str, str] = {
    AS_PROPOSED: TABLE,
    UNSEARCHED: TABLE,
    "refresh 5 s": with_options(TABLE, "refresh_interval = 5000"),
    "refresh 30 s": with_options(TABLE, "refresh_interval = 30000"),
    "texts not indexed": with_words(TABLE, OFF),
    "texts and numbers not indexed": with_words(TABLE, OFF, ("text", "bigint", "integer", "double precision")),
    "texts without column store": with_words(TABLE, "STORAGE WITH (columnstore = false)"),
    "1 shard a month": TABLE.replace("INTO 2 SHARDS", "INTO 1 SHARDS"),
    "4 shards a month": TABLE.replace("INTO 2 SHARDS", "INTO 4 SHARDS"),
    "translog async 5 s": with_options(TABLE, "\"translog.durability\" = 'ASYNC'"),
}


def main() -> int:
    options = arguments().parse_args()
    chosen = [name for name in TABLES if not options.only or name == AS_PROPOSED or name in options.only.split(";")]
    found: list[tuple[str, Run]] = []
    with own_servers() as servers:
        topic = f"settings-{uuid.uuid4().hex[:8]}"
        produce(servers.kafka, topic, STREAMS["mixed"](options.records))
        bench = Bench(servers.kafka, servers.crate, options.records, {})
        try:
            for _ in range(options.warm):
                print(f"{'(warming up)':<35} {bench.run(ROOT, topic)}", flush=True)
            for number in range(options.rounds):
                for name in chosen if number % 2 == 0 else reversed(chosen):
                    found.append(
                        (name, replace(bench, table=TABLES[name], rest_s=IDLE_S if name == UNSEARCHED else 0.0).run(ROOT, topic))
                    )
                    print(f"{name:<35} {found[-1][1]}", flush=True)
        finally:
            delete(servers.kafka, [topic])
        about = report.machine() | {"crate": servers.crate_version, "kafka": KAFKA_VERSION}
    raw = report.keep(
        "table-settings", about, records=options.records, runs=[{"table": name, **asdict(run)} for name, run in found]
    )
    text = page_of(chosen, found, about, raw.name)
    folder = report.DOCS / "benchmark" if options.publish else raw.with_suffix("")
    print(f"{text}\n{raw}\n{report.publish('table-settings', text, folder)}")
    return 0


def page_of(chosen: Sequence[str], found: Sequence[tuple[str, Run]], about: Mapping[str, object], raw: str) -> str:
    crate = {name: [run.crate_cpu_s or 0.0 for each, run in found if each == name] for name in chosen}
    took = {name: [run.took_s for each, run in found if each == name] for name in chosen}
    rows = [
        (
            name,
            f"{median(crate[name]):.1f}",
            f"{min(crate[name]):.1f} to {max(crate[name]):.1f}",
            " ".join(f"{own / theirs:.2f}" for own, theirs in zip(crate[name], crate[AS_PROPOSED], strict=True)),
            f"{median(took[name]):.1f}",
        )
        for name in chosen
    ]
    head = ("table", "CrateDB CPU s/100k", "range", "of the proposed one's, round by round", "s from start to end")
    intro = f"Made by `python -m bench.table_settings`; do not edit. {report.machine_line(about)} Raw: `bench/results/{raw}`.\n"
    return "\n".join(["# What a table's settings cost CrateDB\n", intro, report.markdown(head, rows)])


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--warm", type=int, default=4, help="runs before them, in which CrateDB's JVM learns")
    parser.add_argument("--only", default="", help="some tables by name, separated by semicolons: " + "; ".join(TABLES))
    parser.add_argument("--publish", action="store_true", help="write the page to docs/benchmark/")
    return parser


if __name__ == "__main__":
    sys.exit(main())
