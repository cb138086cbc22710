"""Every promise of docs/reliability.md names the tests that prove it, and these tests exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROW = re.compile(r"^\| (\d+)\. [^|]* \| (`test_.*) \|$", re.MULTILINE)
PAGE = (ROOT / "docs/reliability.md").read_text(encoding="utf-8")
PROVED = {int(number): re.findall(r"`(test_\w+)`", tests) for number, tests in ROW.findall(PAGE)}


def defined() -> set[str]:
    files = (ROOT / "tests").rglob("test_*.py")
    return {name for path in files for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)}


def test_all_ten_promises_are_proved_somewhere() -> None:
    assert list(range(1, 11)) == sorted(PROVED)


@pytest.mark.parametrize("promise", sorted(PROVED))
def test_the_tests_that_prove_a_promise_exist(promise: int) -> None:
    assert set() == set(PROVED[promise]) - defined()
