"""Plots of what was measured, as SVG that is the same for the same figures. matplotlib is needed here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")

import matplotlib.pyplot as plt

from bench.report import Median

mpl.rcParams.update({"svg.hashsalt": "ingest", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
SPEED, OWN, CRATE = "#2b6cb0", "#2b6cb0", "#a0aec0"
LINES = ("#2b6cb0", "#c05621", "#2f855a", "#6b46c1")
PANEL_IN = 3.4

Series = Mapping[str, Sequence[tuple[float, Sequence[float]]]]  # name: (x, values of the runs)


def bars(case: str, contenders: Mapping[str, Median], file: Path) -> Path:
    """Steady rows/s with the range of the runs, and the CPU of both sides, of every contender."""
    names = list(contenders)[::-1]
    speeds = [contenders[name].of("steady_rows_s") for name in names]
    spans = [contenders[name].spread for name in names]
    off = [[speed - low for speed, (low, _) in zip(speeds, spans, strict=True)]]
    off.append([high - speed for speed, (_, high) in zip(speeds, spans, strict=True)])
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 1.2 + 0.38 * len(names)), sharey=True)
    left.barh(names, speeds, xerr=off, color=SPEED, ecolor="#1a202c", capsize=2)
    left.set_xlabel("rows/s, steady (median, line: range)")
    own = [contenders[name].of("own_cpu_s") for name in names]
    crate = [contenders[name].of("crate_cpu_s") for name in names]
    right.barh(names, own, color=OWN, label="contender")
    right.barh(names, crate, left=own, color=CRATE, label="CrateDB")
    right.set_xlabel("CPU seconds per 100,000 records")
    right.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncol=2)
    figure.suptitle(case)
    return saved(figure, file)


def curves(panels: Mapping[str, Series], label: str, file: Path, *, is_log: bool = False) -> Path:
    """One panel for each figure over the same axis: a line through the medians, a dot for each run."""
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(PANEL_IN * columns, 2.6 * rows), squeeze=False)
    for axis, (title, series) in zip(axes.flat, panels.items(), strict=False):
        draw(axis, series)
        axis.set_title(title, fontsize=9)
        axis.set_xlabel(label)
        axis.set_ylim(bottom=0)
        if is_log:
            axis.set_xscale("log")
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    return saved(figure, file)


def draw(axis: Any, series: Series) -> None:
    for colour, (name, points) in zip(LINES * 3, series.items(), strict=False):
        middle = [(x, sorted(values)[len(values) // 2]) for x, values in points]
        axis.plot(*zip(*middle, strict=True), color=colour, label=name)
        dots = [(x, value) for x, values in points for value in values]
        axis.plot(*zip(*dots, strict=True), ".", color=colour, alpha=0.5)
    if len(series) > 1:
        axis.legend(frameon=False, fontsize=8)


def saved(figure: Any, file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(file, format="svg", metadata={"Date": None})
    plt.close(figure)
    return file
