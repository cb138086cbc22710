"""docs/pressure.svg from the raw samples of bench/pressure.py: a column for each scenario, four panels over the same time."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

mpl.rcParams.update(
    {"svg.hashsalt": "ingest", "svg.fonttype": "none", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
)
BLUE, ORANGE, GREEN, PURPLE, GREY = "#2b6cb0", "#c05621", "#2f855a", "#6b46c1", "#a0aec0"
TITLES = {
    "overload": "CrateDB slower than the load, and quick again",
    "outage": "one table of three read-only; CrateDB killed and back",
}
# Rates are those over so many looks, 4 s: a batch is no rate.
SPAN = 8
# A tenth of a point is all that is seen of a place; what is behind that is a third of the file.
NUMBER = re.compile(r"(\d+\.\d)\d+(?=[ \n\"])")
LEGEND: dict[str, Any] = {"fontsize": 7, "frameon": False, "ncols": 5, "columnspacing": 1.0, "handlelength": 1.3}

Look = Mapping[str, Any]
Value = float | None


def plot(raw: Mapping[str, Any], file: Path) -> None:
    """The same bytes for the same figures."""
    scenarios = raw["scenarios"]
    figure, axes = plt.subplots(4, len(scenarios), figsize=(11, 9.5), sharex="col", squeeze=False)
    for column, (name, seen) in enumerate(scenarios.items()):
        looks = [dict(zip(seen["fields"], look, strict=True)) for look in seen["looks"]]
        panels = [axes[row][column] for row in range(4)]
        for draw, axis in zip((load, flight, latency, memory), panels, strict=True):
            draw(axis, looks, raw)
            axis.set_ylim(bottom=0)
            legend = axis.legend(loc="lower left", bbox_to_anchor=(-0.03, 0.96), **LEGEND)
            legend.set_in_layout(False)
        panels[0].set_title(TITLES.get(name, name), fontsize=10, pad=18)
        panels[3].set_xlabel("seconds")
        tell_events(panels, seen["events"])
    figure.tight_layout(h_pad=1.6)
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    plt.close(figure)
    file.write_text(NUMBER.sub(r"\1", text.getvalue()))


def load(axis: Axes, looks: Sequence[Look], raw: Mapping[str, Any]) -> None:
    line(axis, looks, rate(looks, lambda look: sum(look["offered"].values())), "offered", GREY, width=2.2)
    line(axis, looks, rate(looks, lambda look: sum(look["stored"].values())), "accepted (rows stored), of it:", BLUE)
    for table, color in zip(raw["tables"], (GREEN, PURPLE, ORANGE), strict=True):
        line(axis, looks, rate(looks, lambda look, table=table: look["stored"].get(table, 0)), table, color, width=0.8)
    axis.set_ylabel("per second")
    axis.set_ylim(top=1.15 * axis.get_ylim()[1])


def flight(axis: Axes, looks: Sequence[Look], _: Mapping[str, Any]) -> None:
    line(axis, looks, [look["permits"] for look in looks], "permits (the regulator's limit)", ORANGE)
    line(axis, looks, [look["in_flight"] for look in looks], "requests in flight", BLUE, width=0.9)
    axis.set_ylabel("requests")
    other = axis.twinx()
    line(other, looks, [look["rows_out"] for look in looks], "rows in flight (right)", GREEN, width=0.7)
    join(axis, other, "rows")


def latency(axis: Axes, looks: Sequence[Look], _: Mapping[str, Any]) -> None:
    line(axis, looks, [look["p50_s"] for look in looks], "request p50", BLUE)
    line(axis, looks, [look["p99_s"] for look in looks], "request p99", ORANGE)
    axis.set_ylabel("seconds")
    other = axis.twinx()
    line(other, looks, [look["freshness_s"] for look in looks], "age of a row when stored (right)", GREEN, width=0.9)
    join(axis, other, "seconds")


def memory(axis: Axes, looks: Sequence[Look], raw: Mapping[str, Any]) -> None:
    line(axis, looks, [look["rss_mb"] for look in looks], "memory", BLUE)
    axis.axhline(float(raw["settings"]["memory_mb"]), color=BLUE, linewidth=0.8, linestyle="--", label="INGEST_MEMORY_MB")
    line(axis, looks, [look["unsettled_mb"] for look in looks], "unsettled", ORANGE, width=0.9)
    axis.set_ylabel("MB")
    other = axis.twinx()
    line(other, looks, [look["lag"] for look in looks], "lag (right)", GREEN, width=0.9)
    shade_paused(axis, looks)
    join(axis, other, "records")


# ---------------------------------------------------------------- parts


def line(axis: Axes, looks: Sequence[Look], values: Sequence[Value], label: str, color: str, width: float = 1.4) -> None:
    """A point a second: the eye sees no more, and the file is half as large."""
    seconds = [look["at_s"] for look in looks]
    gaps = [float("nan") if value is None else value for value in values]
    axis.plot(seconds[::2], gaps[::2], color=color, linewidth=width, label=label)


def rate(looks: Sequence[Look], count: Callable[[Look], int]) -> list[Value]:
    """What was counted, per second over the last SPAN looks."""
    found: list[Value] = []
    for index, look in enumerate(looks):
        before = looks[max(0, index - SPAN)]
        span_s = look["at_s"] - before["at_s"]
        found.append((count(look) - count(before)) / span_s if span_s else None)
    return found


def join(axis: Axes, other: Axes, label: str) -> None:
    """One legend for both scales of a panel."""
    other.set_ylim(bottom=0, top=max(1.0, other.get_ylim()[1]))
    other.set_ylabel(label)
    other.spines["right"].set_visible(True)
    for each in other.get_lines():
        axis.plot([], [], color=each.get_color(), linewidth=each.get_linewidth(), label=each.get_label())


def shade_paused(axis: Axes, looks: Sequence[Look]) -> None:
    """Where partitions rest for want of memory."""
    began_s: float | None = None
    label: str | None = "partitions paused"
    for look in [*looks, {**looks[-1], "paused": 0}]:
        if look["paused"] and began_s is None:
            began_s = look["at_s"]
        elif not look["paused"] and began_s is not None:
            axis.axvspan(began_s, look["at_s"], color=GREY, alpha=0.3, linewidth=0, label=label)
            began_s, label = None, None


def tell_events(panels: Sequence[Axes], events: Sequence[Mapping[str, Any]]) -> None:
    """A line through all panels, its words in the first."""
    for event in events:
        for axis in panels:
            axis.axvline(event["at_s"], color="#4a5568", linewidth=0.7, linestyle=":")
        axis = panels[0]
        axis.text(
            event["at_s"],
            axis.get_ylim()[1],
            f" {event['says']}",
            rotation=90,
            va="top",
            ha="right",
            fontsize=6.5,
            color="#4a5568",
        )
