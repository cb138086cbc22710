"""How replays look: a line of progress, what became of letters, what became of a range. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ingest.flow.parking import Place
from ingest.tools.dlq_replay import Left, Outcome
from ingest.tools.dlq_text import columns, cut, full, plain, short
from ingest.tools.replay import Progress, ReplayPlan, Report
from ingest.tools.replay_rooms import OTHER_TABLE, Refusal

TOLD = 100
DRY = "nothing was written: CrateDB may still refuse what would be sent"


def progress_line(progress: Progress) -> str:
    """
    >>> progress_line(Progress(500, 2000, 600, 3)), progress_line(Progress(1, 4, 1, 0, "CrateDB"))
    ('25% (500 of 2,000), 3 refused', '25% (1 of 4), waits: CrateDB')
    """
    share = 100 * progress.done // max(1, progress.total)
    refused = f", {progress.refused:,} refused" if progress.refused else ""
    waits = f", waits: {progress.waits_for}" if progress.waits_for else ""
    return f"{share}% ({progress.done:,} of {progress.total:,}){refused}{waits}"


# ---------------------------------------------------------------- letters


def of_letters(outcome: Outcome, width: int | None = None) -> str:
    """width: of the terminal, at which lines are cut."""
    lines = [sums(outcome), *(parked_line(place) for place in outcome.parked.values())]
    if outcome.before:
        lines.append(f"{outcome.before} were replayed before and left alone: --again replays them once more")
    rows = [("letter", "source", "code", "table", "column", "reason"), *(_row(left) for left in outcome.left[:TOLD])]
    lines += table(rows, width) if outcome.left else []
    if (more := outcome.codes.total() - len(outcome.left[:TOLD])) > 0:
        lines.append(f"and {more} more: --json tells them, or narrow with --code")
    return "\n".join(lines)


def sums(outcome: Outcome) -> str:
    """
    >>> sums(Outcome(letters=3, stored=2, skipped=1))
    '3 letters: 2 stored, 0 superseded by newer rows, 1 skipped, 0 left'
    """
    letters = f"{outcome.letters} letter{'' if outcome.letters == 1 else 's'}"
    if not outcome.letters:
        return "no letters to replay"
    skipped, left = f"{outcome.skipped} skipped", f"{outcome.codes.total()} left"
    waiting = f", {outcome.waiting} not reached" if outcome.waiting else ""
    if outcome.is_dry:
        return f"{letters}: {outcome.stored + outcome.superseded} would be sent, {skipped}, {left}{waiting}; {DRY}"
    return f"{letters}: {outcome.stored} stored, {outcome.superseded} superseded by newer rows, {skipped}, {left}{waiting}"


def letters_as_json(outcome: Outcome) -> str:
    found = {
        "letters": outcome.letters,
        "replayed_before": outcome.before,
        "stored": outcome.stored,
        "superseded": outcome.superseded,
        "skipped": outcome.skipped,
        "left": outcome.codes.total(),
        "not_reached": outcome.waiting,
        "is_dry": outcome.is_dry,
        "codes": dict(outcome.codes),
        "letters_left": [_left_as_dict(left) for left in outcome.left],
        "parked": _parked_as_dicts(outcome.parked.values()),
    }
    return json.dumps(found, indent=1, ensure_ascii=False)


def _row(left: Left) -> tuple[str, ...]:
    cells = (short(left.letter), full(left.source), left.code, left.table, left.column, left.text)
    return tuple(plain(cell) or "-" for cell in cells)


def _left_as_dict(left: Left) -> Mapping[str, str]:
    return {**left._asdict(), "letter": short(left.letter), "source": full(left.source)}


# ---------------------------------------------------------------- ranges


def of_ranges(report: Report, plan: ReplayPlan, width: int | None = None) -> str:
    books, skips = report.books, report.books.skips
    others = f" ({skips[OTHER_TABLE]} for other tables)" if skips[OTHER_TABLE] else ""
    stored, superseded, skipped = (books.total(end) for end in ("written", "superseded", "skipped"))
    what = f"{stored + superseded} would be sent" if plan.is_dry else f"{stored} stored, {superseded} superseded by newer rows"
    ended = sum(map(books.total, ("written", "superseded", "skipped", "dead_lettered")))
    dry = f"; {DRY}" if plan.is_dry else ""
    lines = [f"{ended} records: {what}, {skipped} skipped{others}, {report.refused} refused{dry}"]
    lines += map(parked_line, report.parked)
    lines += (f"{place}: offsets {left.begin} to {left.end - 1} were not replayed" for place, left in report.unreached.items())
    if report.refusals:
        lines += table([("record", "code", "table", "column", "reason"), *map(_refused_row, report.refusals[:TOLD])], width)
    if (more := report.refused - len(report.refusals[:TOLD])) > 0:
        lines.append(f"and {more} more refused")
    return "\n".join(lines)


def ranges_as_json(report: Report, plan: ReplayPlan) -> str:
    found = {
        **report.books.summary(0),
        "is_dry": plan.is_dry,
        "skips": dict(report.books.skips),
        "codes": dict(report.codes),
        "reached": {str(place): offset for place, offset in report.reached.items()},
        "unreached": {str(place): list(left) for place, left in report.unreached.items()},
        "refused": [{**refusal._asdict(), "at": full(refusal.at)} for refusal in report.refusals],
        "parked": _parked_as_dicts(report.parked),
    }
    return json.dumps(found, indent=1, ensure_ascii=False)


def _refused_row(refusal: Refusal) -> tuple[str, ...]:
    cells = (full(refusal.at), refusal.code, refusal.table, refusal.column, refusal.text)
    return tuple(plain(cell) or "-" for cell in cells)


# ---------------------------------------------------------------- both


def parked_line(place: Place) -> str:
    return f"{place.subject} is parked ({place.code}): {place.text}"


def _parked_as_dicts(places: Iterable[Place]) -> list[Mapping[str, str]]:
    return [{"subject": place.subject, "code": place.code, "text": place.text} for place in places]


def table(rows: Sequence[Sequence[str]], width: int | None) -> Iterator[str]:
    return (each if width is None else cut(each, width) for each in columns(rows))
