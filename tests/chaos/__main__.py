"""Run the fault matrix: `python -m tests.chaos [--short] [--row PART] [--seed N] [FILE ...]`; results go to bench/results/."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import pytest

from tests.chaos import results, scenario

HERE = Path(__file__).resolve().parent
ROW_WITHIN_S = 1_500
KEPT_IN = HERE.parents[1] / "bench" / "results"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="The fault matrix on real servers.")
    parser.add_argument("files", nargs="*", default=[str(HERE)], help="such as tests/chaos/test_cratedb.py; default: all")
    parser.add_argument("--short", action="store_true", help="only the dozen rows that `make test` runs")
    parser.add_argument("--row", default="", metavar="PART", help="only rows with this in their name; as pytest's -k")
    parser.add_argument("--seed", type=int, help="another seed for all of them")
    parser.add_argument("--no-record", action="store_true", help="leave no file in bench/results/")
    options = parser.parse_args()
    if options.seed is not None:
        os.environ[scenario.SEED] = str(options.seed)
    if not options.no_record:
        KEPT_IN.mkdir(parents=True, exist_ok=True)
        at = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        os.environ.setdefault(results.FILE, str(KEPT_IN / f"chaos-{at}.jsonl"))
    chosen = [*(["-m", "short"] if options.short else []), *(["-k", options.row] if options.row else [])]
    # A row with a long fault on a busy machine takes longer than any other test may.
    return int(pytest.main(["--quiet", "-o", f"faulthandler_timeout={ROW_WITHIN_S}", *chosen, *options.files]))


if __name__ == "__main__":
    sys.exit(main())
