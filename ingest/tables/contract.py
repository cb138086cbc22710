"""Contracts: what people say of a table in `schemas/<table>.toml`, as frozen values. All keys are optional but `table`.

`load_contracts` reads a folder and reports everything that is wrong in it; what contradicts the catalogue is found by `checks`.
Reads files at start and in `check`; touched by the loop's thread.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ingest.tables.toml_file import Problem, TomlFile
from ingest.tables.types import DEFAULT_RULE, TYPE_NAMES, ColumnRule, parse_type

__all__ = ["Contract", "PartitionRule", "Problem", "VersionRule", "load_contracts"]

_KEYS = ("table", "topics", "format", "key", "partition", "before", "version", "unknown_fields", "truncate", "columns")
_POLICIES = ("reject", "null", "text")
_KEEP = re.compile(r"\s*(\d{1,4})\s*(month|year)s?\s*")
_MAX_EPOCH = 99


class PartitionRule(NamedTuple):
    """How the month of a row is found.

    column: the partition column. source: the column, or else the field of the record, whose month it is (`from`).
    mutable: a key's month may change, so a change without a sure image of before has it looked up.
    keep_months: older months are refused as expired.
    """

    column: str | None = None
    source: str | None = None
    mutable: bool = False
    keep_months: int | None = None


class VersionRule(NamedTuple):
    """source: "source", "offset", "none", or None where nobody chose. epoch: 0 to 99, for a source that was rebuilt."""

    source: str | None = None
    epoch: int | None = None


_NO_PARTITION = PartitionRule()
_NO_VERSION = VersionRule()


@dataclass(frozen=True, slots=True)
class Contract:
    """What the owner of a table says of it.

    key: names of the parts of array keys, None for the primary key's own; by_position: events get their place in Kafka as key.
    before_full: before images are real. unknown_fields: ignore, extra, add, reject, or None where nobody chose.
    file, lines: where it stands, for problems; lines by dotted path.
    """

    table: str
    topics: tuple[str, ...] = ()
    format: str = "auto"
    key: tuple[str, ...] | None = None
    by_position: bool = False
    partition: PartitionRule = _NO_PARTITION
    before_full: bool = False
    version: VersionRule = _NO_VERSION
    unknown_fields: str | None = None
    truncate: str = "park"
    columns: Mapping[str, ColumnRule] = field(default_factory=dict)
    file: str = ""
    lines: Mapping[str, int] = field(default_factory=dict, compare=False, repr=False)

    def rule(self, column: str) -> ColumnRule:
        return self.columns.get(column, DEFAULT_RULE)

    def problem(self, path: str, text: str, severity: str = "error") -> Problem:
        """A problem at the line of `path` ("partition.from"), or of the nearest part of it that is written."""
        while path and path not in self.lines:
            path = path.rpartition(".")[0]
        return Problem(self.file, self.lines.get(path, 1), text, severity)


def load_contracts(folder: Path) -> tuple[list[Contract], list[Problem]]:
    """The contracts of a folder without those that have errors, and all problems with file and line.

    A folder that does not exist holds no contracts. Raises nothing for what stands in the files.
    """
    contracts: list[Contract] = []
    problems: list[Problem] = []
    for path in sorted(folder.glob("*.toml")):
        file = TomlFile.read(path)
        contract = _contract(file) if not file.problems else None
        problems += file.problems
        if contract is not None and not any(problem.severity == "error" for problem in file.problems):
            contracts.append(contract)
    return contracts, problems + _twice(contracts)


def _twice(contracts: list[Contract]) -> list[Problem]:
    first: dict[str, Contract] = {}
    return [
        contract.problem("table", f"table {contract.table} has a contract already, in {seen.file}: keep one of them")
        for contract in contracts
        if (seen := first.setdefault(contract.table, contract)) is not contract
    ]


def _contract(file: TomlFile) -> Contract:
    file.expect_keys((), _KEYS)
    table = file.text(("table",))
    if not table:
        file.problem(("table",), 'the table is missing: write table = "schema.table"')
    key, by_position = _key(file)
    return Contract(
        table=table or "",
        topics=_topics(file),
        format=file.text(("format",)) or "auto",
        key=key,
        by_position=by_position,
        partition=_partition(file),
        before_full=file.choice(("before",), ("key", "full")) == "full",
        version=_version(file),
        unknown_fields=file.choice(("unknown_fields",), ("ignore", "extra", "reject", "add")),
        truncate=file.choice(("truncate",), ("park", "skip", "empty")) or "park",
        columns=_columns(file),
        file=file.name,
        lines=file.lines(),
    )


def _key(file: TomlFile) -> tuple[tuple[str, ...] | None, bool]:
    if file.get(("key",)) == "position":
        return None, True
    names = file.words(("key",), 'a list of columns, or "position"')
    return (names or None), False


def _topics(file: TomlFile) -> tuple[str, ...]:
    topics = file.words(("topics",), "a list of topic names and ^expressions")
    for topic in topics:
        try:
            re.compile(topic if topic.startswith("^") else "")
        except re.error as error:
            file.problem(("topics",), f"{topic} is no regular expression: {error}")
    return topics


def _partition(file: TomlFile) -> PartitionRule:
    file.expect_keys(("partition",), ("column", "from", "mutable", "keep"))
    keep = file.text(("partition", "keep"))
    months = _KEEP.fullmatch(keep) if keep is not None else None
    if keep is not None and months is None:
        file.problem(("partition", "keep"), 'keep is written like "36 months" or "3 years"')
    return PartitionRule(
        file.text(("partition", "column")),
        file.text(("partition", "from")),
        file.flag(("partition", "mutable")),
        int(months[1]) * (12 if months[2] == "year" else 1) if months else None,
    )


def _version(file: TomlFile) -> VersionRule:
    file.expect_keys(("version",), ("from", "epoch"))
    epoch = file.get(("version", "epoch"))
    if epoch is not None and (type(epoch) is not int or not 0 <= epoch <= _MAX_EPOCH):
        file.problem(("version", "epoch"), f"epoch is a number from 0 to {_MAX_EPOCH}")
        epoch = None
    return VersionRule(file.choice(("version", "from"), ("source", "offset", "none")), epoch)


def _columns(file: TomlFile) -> Mapping[str, ColumnRule]:
    file.expect_keys(("columns",), None)
    columns = file.get(("columns",))
    return {name: _column(file, ("columns", name)) for name in columns} if isinstance(columns, dict) else {}


def _column(file: TomlFile, path: tuple[str, ...]) -> ColumnRule:
    file.expect_keys(path, ("from", "type", "overflow", "precision", "shorten"))
    written = file.text((*path, "type"))
    source_type = parse_type(written) if written is not None else None
    if written is not None and source_type is None:
        near = file.nearest(written, TYPE_NAMES)
        file.problem((*path, "type"), f"{written} is no type of a source{near}; decimals in base64 need both: numeric(p,s)")
    return ColumnRule(
        file.text((*path, "from")),
        source_type,
        file.choice((*path, "overflow"), _POLICIES) or "reject",
        file.flag((*path, "shorten")),
        file.choice((*path, "precision"), _POLICIES) or "reject",
    )
