"""What runs mean: medians, ratios to the ceiling, Markdown, the machine they ran on, and where it is kept. Files only."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

from bench.contenders import ROOT
from bench.measure import Run

RESULTS = ROOT / "bench" / "results"
DOCS = ROOT / "docs"
PACKAGES = ("kafka-python", "confluent-kafka", "crate", "psycopg", "msgspec", "orjson", "urllib3", "fastavro")
CEILING = "ceiling"
HEAD = (
    "contender",
    "runs",
    "rows/s",
    "steady rows/s (range)",
    "of ceiling",
    "own CPU s/100k (steady)",
    "CrateDB CPU s/100k (steady)",
    "of ceiling's",
    "peak MB",
    "table",
)


@dataclass(frozen=True)
class Median:
    """Several runs of one contender over one workload as one; `ratio` and `crate_ratio` to the ceiling's of the same case."""

    runs: Sequence[Run]
    ceiling: Sequence[Run]

    def of(self, name: str) -> float:
        return median(getattr(run, name) for run in self.runs)

    @property
    def spread(self) -> tuple[float, float]:
        speeds = [run.steady_rows_s for run in self.runs]
        return min(speeds), max(speeds)

    @property
    def ratio(self) -> float | None:
        return self._ratio("steady_rows_s")

    @property
    def crate_ratio(self) -> float | None:
        return self._ratio("crate_cpu_s")

    @property
    def verdict(self) -> str:
        if all(run.is_right for run in self.runs):
            return "right" if all(run.wrong is not None for run in self.runs) else "not looked at"
        bad = next(run for run in self.runs if not run.is_right)
        return ", ".join(f"{n:,} {kind}" for kind, n in bad.wrong.items()) if bad.wrong else bad.state[:80]

    def _ratio(self, name: str) -> float | None:
        below = median(getattr(run, name) for run in self.ceiling) if self.ceiling else 0.0
        return self.of(name) / below if below else None


def medians(runs: Sequence[Run]) -> dict[tuple[str, bool], dict[str, Median]]:
    """By case (workload, pinned) and contender, in the order in which they came."""
    cases: dict[tuple[str, bool], dict[str, list[Run]]] = {}
    for run in runs:
        cases.setdefault((run.workload, run.pinned), {}).setdefault(run.contender, []).append(run)
    return {
        case: {name: Median(some, contenders.get(CEILING, [])) for name, some in contenders.items()}
        for case, contenders in cases.items()
    }


def tables(runs: Sequence[Run]) -> str:
    """A Markdown table a case."""
    parts = []
    for (workload, pinned), contenders in medians(runs).items():
        records = next(iter(contenders.values())).runs[0].records
        where = "CrateDB on one core, everything else on the other" if pinned else "all cores shared"
        parts.append(f"### {workload} ({where}; {records:,} records)\n\n{markdown(HEAD, map(cells, contenders.items()))}")
    return "\n".join(parts)


def cells(item: tuple[str, Median]) -> list[str]:
    name, of = item
    low, high = of.spread
    return [
        name,
        str(len(of.runs)),
        f"{of.of('rows_s'):,.0f}",
        f"{of.of('steady_rows_s'):,.0f} ({low:,.0f} to {high:,.0f})",
        ratio(of.ratio),
        f"{of.of('own_cpu_s'):.2f} ({of.of('steady_own_cpu_s'):.2f})",
        f"{of.of('crate_cpu_s'):.2f} ({of.of('steady_crate_cpu_s'):.2f})",
        ratio(of.crate_ratio),
        f"{of.of('max_rss_mb'):.0f}",
        of.verdict,
    ]


def ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


# ---------------------------------------------------------------- kept


def machine() -> dict[str, Any]:
    """What the figures hang on, without names of hosts."""
    model = next((line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "unknown")
    memory_kb = int(next(line.split()[1] for line in _lines("/proc/meminfo") if line.startswith("MemTotal")))
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gb": round(memory_kb / 1_048_576),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        "packages": dict(filter(None, map(_package, PACKAGES))),
    }


def machine_line(about: Mapping[str, Any]) -> str:
    packages = ", ".join(f"{name} {number}" for name, number in about["packages"].items())
    here = f"{about['cores']} cores of {about['cpu']}, {about['memory_gb']} GB, {about['system']}, Python {about['python']}"
    crate = about.get("crate", "")
    store = f"CrateDB {crate} (heap 2 GB)" if crate[:1].isdigit() else f"in CrateDB's place {crate}"
    return f"{here}; {store}, Kafka {about.get('kafka', '')}; {packages}."


def keep(kind: str, about: Mapping[str, Any], **raw: Any) -> Path:
    """Everything as it was measured, in a file of its own in bench/results/."""
    at = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    RESULTS.mkdir(parents=True, exist_ok=True)
    file = RESULTS / f"{kind}-{at}.json"
    file.write_text(json.dumps({"at": at, "machine": about, **raw}, default=_plain) + "\n")
    return file


def publish(name: str, text: str, folder: Path) -> Path:
    """A page with its plots beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / f"{name}.md"
    page.write_text(text)
    return page


def _plain(value: Any) -> Any:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else str(value)


def _package(name: str) -> tuple[str, str] | None:
    try:
        return name, version(name)
    except PackageNotFoundError:
        return None


def _lines(file: str) -> list[str]:
    return Path(file).read_text().splitlines()
