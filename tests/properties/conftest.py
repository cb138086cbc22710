"""One table with a column of each type on a real CrateDB, shared by all property tests of a run."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.crate_rig import Rig
from tests.properties.keeper import COLUMNS, Keeper


@pytest.fixture(scope="session")
def rig(crate_url: str) -> Iterator[Rig]:
    found = Rig(crate_url, f"t_properties_{os.getpid()}")
    yield found
    found.drop()


@pytest.fixture(scope="session")
def keeper(rig: Rig) -> Keeper:
    definitions = ", ".join(f'"{name}" {type_}' for name, type_ in COLUMNS.items())
    return Keeper(rig, rig.create(f"id BIGINT PRIMARY KEY, {definitions}", "CLUSTERED INTO 1 SHARDS"))
