"""Breaks one rule at a time in a copy of the project, and says whether the tests that need no server notice.

    python -m tests.mutations [NAME ...]      (make mutations)

Each mutation is one small edit, and is caught when a test of its selection fails. A mutation whose text is no longer in the code
is an error: the rule moved, so must the mutation. Exit 0: all were caught, 1: one was not.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
COPIED = ("ingest", "tests", "docs", "schemas", "sql", "bench", "compose", "pyproject.toml", "README.md")
FLOW = ("tests/flow",)
CRATE = ("tests/unit/test_crate_plan.py", "tests/unit/test_crate_statements.py", "tests/unit/test_crate_writer.py")
BISECT = ("tests/unit/test_crate_writer.py", "tests/unit/test_crate_properties.py")
VERDICTS = ("tests/unit/test_crate_verdicts.py", "tests/unit/test_crate_writer.py")


@dataclass(frozen=True)
class Mutation:
    """rule: what is broken. tests: paths that should notice."""

    name: str
    rule: str
    file: str
    old: str
    new: str
    tests: Sequence[str]


MUTATIONS = (
    Mutation(
        "no-seek", "what was handed back is read again", "ingest/flow/state.py",
        "            self.source.seek(partition, unsafe)\n", "", FLOW,
    ),
    Mutation(
        "commit-highest", "nothing is committed beyond an unsettled record", "ingest/flow/ledger.py",
        "while tickets and not tickets[0].rows_open:", "while tickets:", FLOW,
    ),
    Mutation(
        "late-results-settle", "a result of a closed page settles nothing", "ingest/flow/ledger.py",
        "page.is_open = False", "page.is_open = True", FLOW,
    ),
    Mutation(
        "letters-unacknowledged", "a record is settled only when the dead-letter topic has it", "ingest/flow/settling.py",
        "        self._letters[ticket.record.at] = ticket\n",
        "        self._settle(ticket, Settled.DEAD_LETTERED)\n        self._letters[ticket.record.at] = ticket\n", FLOW,
    ),
    Mutation(
        "no-guard", "a stale row does not win", "ingest/crate/statements.py",
        "    elif form is Form.REFUSE:", "    elif form is Form.REFUSE and not version:", CRATE,
    ),
    Mutation(
        "bare-is-written", "-2 confirms nothing", "ingest/crate/verdicts.py",
        "        return of_nothing(action)\n    return BARE", "        return of_nothing(action)\n    return WRITTEN", VERDICTS,
    ),
    Mutation(
        "bare-is-stale", "a row that a busy shard left unexplained is not called stale", "ingest/crate/courier.py",
        "is_sure = not any(", "is_sure = True or any(", BISECT,
    ),
    Mutation(
        "refused-together", "a request that is refused is taken apart down to the row", "ingest/crate/courier.py",
        "        if len(part) == 1:\n", "        if len(part) <= 2:\n", BISECT,
    ),
    Mutation(
        "nothing-is-written", "rowcount 0 confirms nothing", "ingest/crate/verdicts.py",
        "    if rowcount == 0:\n        return of_nothing(action)", "    if rowcount == 0:\n        return WRITTEN", VERDICTS,
    ),
    Mutation(
        "fold-by-arrival", "the larger version survives", "ingest/flow/fold.py",
        "    return version is None or other is None or version >= other", "    return True", FLOW,
    ),
    Mutation(
        "forget-vacates", "a folded change vacates the months of all its members", "ingest/flow/fold.py",
        "vacates, look_up = months_left(older, newer, newer.month), older.look_up or newer.look_up",
        "vacates, look_up = newer.vacates, older.look_up or newer.look_up", FLOW,
    ),
    Mutation(
        "forget-look-up", "a folded change asks for the months that a member did not know", "ingest/flow/fold.py",
        "older.look_up or newer.look_up\n", "newer.look_up\n", (*FLOW, "tests/unit/test_flow_parts.py"),
    ),
    Mutation(
        "delete-for-tombstone", "a removal in a table of level ordered is a tombstone", "ingest/crate/plan.py",
        "Action.TOMBSTONE if self._is_ordered else Action.DELETE,", "Action.DELETE,", CRATE,
    ),
    Mutation(
        "no-unfolding", "a good change folded into a bad one is still written", "ingest/flow/settling.py",
        "            elif entry.several is not None:\n                refused.append(entry)\n", "", FLOW,
    ),
    Mutation(
        "patch-folds", "a patch never folds over an older change", "ingest/flow/fold.py",
        "if newer.kind is Kind.PATCH or older.new_keys", "if older.new_keys", (*FLOW, "tests/unit/test_flow_parts.py"),
    ),
    Mutation(
        "two-batches-of-a-lane", "one batch of a lane is out", "ingest/flow/lanes.py",
        "if self.out is not None or now_s < self.resting_until_s:", "if now_s < self.resting_until_s:",
        ("tests/unit/test_flow_parts.py",),
    ),
    Mutation(
        "key-twice-in-a-request", "lanes with a key in common do not go together", "ingest/flow/lanes.py",
        " and keys.isdisjoint(state.open[0].entries)", "", ("tests/unit/test_lanes_together.py",),
    ),
    Mutation(
        "small-ones-at-once", "a small batch waits while one of its table is out", "ingest/flow/lanes.py",
        "not (why == LINGER and self._is_small_out(table))", "True", ("tests/unit/test_lanes_together.py",),
    ),
    Mutation(
        "outcomes-of-the-first-lane", "lanes that went together are settled each with its own rows", "ingest/flow/settling.py",
        "outcomes[its], result.unsure", "outcomes[: len(entries)], result.unsure", FLOW,
    ),
    Mutation(
        "forget-unsure", "a batch waits for the requests whose answer never came", "ingest/flow/settling.py",
        "        lane.unsure = unsure\n", "        lane.unsure = ()\n", FLOW,
    ),
    Mutation(
        "retry-is-done", "what must be sent again is sent again", "ingest/flow/settling.py",
        "                again.append(entry)\n", "                self._settle_all(entry, Settled.WRITTEN)\n", FLOW,
    ),
)  # fmt: skip


def copy_of_project(folder: Path) -> Path:
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "results"))
        elif source.exists():
            shutil.copy(source, folder / name)
    return folder


def fails(project: Path, tests: Sequence[str]) -> bool:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False, timeout=900)
    if done.returncode not in (0, 1):
        raise SystemExit(f"the tests did not run:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.returncode == 1


def is_caught(mutation: Mutation, project: Path) -> bool:
    """Whether a test fails once the rule is broken. The file is as before afterwards."""
    path = project / mutation.file
    whole = path.read_text()
    if whole.count(mutation.old) != 1:
        raise SystemExit(
            f"{mutation.name}: {mutation.file} has its text {whole.count(mutation.old)} times, not once: bring it up to date"
        )
    path.write_text(whole.replace(mutation.old, mutation.new))
    try:
        return fails(project, mutation.tests)
    finally:
        path.write_text(whole)


def main(names: Sequence[str]) -> int:
    missed = 0
    with tempfile.TemporaryDirectory(prefix="ingest-mutations-") as folder:
        project = copy_of_project(Path(folder))
        for tests in dict.fromkeys(mutation.tests for mutation in MUTATIONS):
            if fails(project, tests):
                raise SystemExit(f"{' '.join(tests)} fails without any mutation: mend that first")
        for mutation in MUTATIONS:
            if not names or mutation.name in names:
                caught = is_caught(mutation, project)
                missed += not caught
                sys.stdout.write(f"{'caught' if caught else 'MISSED':<8}{mutation.name:<24}{mutation.rule}\n")
                sys.stdout.flush()
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
