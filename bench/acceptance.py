"""Acceptance on real servers: the worker reads a seeded stream of good and bad changes, and a model judges what it left behind.

    python bench/acceptance.py --kafka 127.0.0.1:9092 --crate http://127.0.0.1:4200 --records 500000 --kill 10 --joiners 5

Prints a report, keeps the raw numbers in bench/results/. Exit code 0 only if tables, dead letters and books are as they must be.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.oracle.rig import Plan, Report, run  # noqa: E402
from tests.oracle.tables import TABLES  # noqa: E402

PACKAGES = ("kafka-python", "msgspec", "orjson", "urllib3")
RESULTS = ROOT / "bench" / "results"


def main() -> int:
    options = arguments().parse_args()
    plan = plan_of(options)
    print(f"{plan.records} records of {', '.join(plan.tables)}, seed {plan.seed}", file=sys.stderr)
    report = run(plan)
    print(report)
    print(f"{'raw numbers':24} {keep(plan, report)}")
    return 0 if report.is_equal else 1


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kafka", required=True, metavar="HOST:PORT")
    parser.add_argument("--crate", required=True, metavar="URL")
    parser.add_argument("--records", type=int, default=500_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tables", default=",".join(TABLES), help="some of: %(default)s")
    parser.add_argument("--kill", type=int, default=0, metavar="N", help="SIGKILL the worker N times and start it again")
    parser.add_argument("--joiners", type=int, default=0, metavar="N", help="a second worker comes and goes N times")
    parser.add_argument("--crate-outage", type=float, default=0.0, metavar="SECONDS", help="cut CrateDB off for so long, once")
    parser.add_argument("--set", action="append", default=[], metavar="INGEST_X=VALUE", help="a setting of the worker")
    parser.add_argument("--keep", action="store_true", help="leave topics, tables and the worker's logs behind")
    return parser


def plan_of(options: argparse.Namespace) -> Plan:
    return Plan(
        kafka=options.kafka,
        crate_url=options.crate,
        records=options.records,
        seed=options.seed,
        tables=options.tables.split(","),
        kills=options.kill,
        joiners=options.joiners,
        crate_outage_s=options.crate_outage,
        keep=options.keep,
        env=dict(pair.split("=", 1) for pair in options.set),
    )


def keep(plan: Plan, report: Report) -> Path:
    """Write the raw numbers; the file they are in."""
    raw: dict[str, Any] = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "equal": report.is_equal,
        "numbers": report.numbers,
        "differences": dict(report.differences.kinds),
        "first_differences": report.differences.shown,
        "trouble": report.trouble,
        "settings": dict(plan.env),
        "versions": {name: version(name) for name in PACKAGES},
        "python": platform.python_version(),
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    file = RESULTS / f"acceptance-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-seed{plan.seed}.json"
    file.write_text(json.dumps(raw, indent=1, default=str) + "\n")
    return file.relative_to(ROOT)


if __name__ == "__main__":
    sys.exit(main())
