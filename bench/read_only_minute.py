"""One table, or two, read-only for a minute under a steady load: do the others keep their pace?

    python bench/read_only_minute.py --kafka 127.0.0.1:9092 --crate http://127.0.0.1:4200 --memory-mb 160

Prints the pace of each table, before and meanwhile; keeps what was seen second by second in bench/results/. Exit code 0 only if
the others kept --kept of their pace, over the whole time and (half of that) in the slowest ten seconds, and nothing was lost.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.integration.pace_rig import Plan, Readings, measure  # noqa: E402
from tests.integration.worker_rig import site_at  # noqa: E402

RESULTS = ROOT / "bench" / "results"


def main() -> int:
    options = arguments().parse_args()
    tables = ("orders", "events", *(f"frozen{n}" for n in range(1, options.frozen + 1)))
    plan = Plan(
        tables, tables[2:], options.rate, before_s=options.before, blocked_s=options.blocked, memory_mb=options.memory_mb
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder, site_at(options.kafka, options.crate, Path(folder)) as site:
        readings = measure(site, plan)
        is_whole = whole(readings) and not site.letters()
        version = site.crate.version()
    print(report(readings))
    is_well = is_whole and all(kept >= options.kept and worst >= options.kept / 2 for kept, worst in readings.ratios().values())
    print(f"nothing lost: {is_whole}; raw numbers: {keep(readings, version, is_well)}")
    return 0 if is_well else 1


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kafka", required=True, metavar="HOST:PORT")
    parser.add_argument("--crate", required=True, metavar="URL")
    parser.add_argument("--frozen", type=int, default=1, metavar="N", help="so many tables are read-only beside two that are not")
    parser.add_argument("--rate", type=int, default=400, help="records a second that each topic is offered")
    parser.add_argument("--before", type=float, default=20.0, metavar="SECONDS")
    parser.add_argument("--blocked", type=float, default=60.0, metavar="SECONDS")
    parser.add_argument("--memory-mb", type=int, default=512, metavar="MB")
    parser.add_argument("--kept", type=float, default=0.7, metavar="RATIO", help="of the pace before")
    return parser


def whole(readings: Readings) -> bool:
    end = readings.end
    return end is not None and end.code == 0 and end.answer["is_balanced"] and end.answer["unsettled"] == 0


def report(readings: Readings) -> str:
    lines = [f"{'table':12} {'before/s':>9} {'blocked/s':>9} {'kept':>6} {'worst':>6}"]
    for table, (kept, worst) in readings.ratios().items():
        before, blocked = readings.pace(table, "before"), readings.pace(table, "blocked")
        lines.append(f"{table:12} {before:9.1f} {blocked:9.1f} {kept:6.2f} {worst:6.2f}")
    return "\n".join(lines)


def keep(readings: Readings, version: str, is_well: bool) -> Path:
    """Write the raw numbers; the file they are in."""
    plan, first_s = readings.plan, readings.looks[0].at_s
    raw: dict[str, Any] = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "is_well": is_well,
        "plan": {name: getattr(plan, name) for name in plan.__dataclass_fields__},
        "ratios": readings.ratios(),
        "cratedb": version,
        "python": platform.python_version(),
        "answer": readings.end.answer if readings.end else None,
        "looks": [look._replace(at_s=round(look.at_s - first_s, 2))._asdict() for look in readings.looks],
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    file = RESULTS / f"read-only-minute-{stamp}-{len(plan.frozen)}-of-{len(plan.tables)}-{plan.memory_mb}mb.json"
    file.write_text(json.dumps(raw, default=str) + "\n")
    return file.relative_to(ROOT)


if __name__ == "__main__":
    sys.exit(main())
