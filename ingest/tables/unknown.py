"""Fields without a column: what becomes of them, by the contract's `unknown_fields`, and which of them are news.

ignore: counted. extra: into cdc_extra. reject: the record is dead-lettered. add: the table gets a column.
A field that is met for the first time may have a column by now, so whatever the policy, the worker looks at the catalogue before
it goes on: then NewFields is raised, once `stop_at` was called; commands that only explain a record never call it.
Touched by the loop's thread.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

from ingest.errors import NewFields, Reject
from ingest.model import Envelope, Fields, NewColumn
from ingest.tables.new_columns import is_good_name, new_columns
from ingest.tables.shapes import Shape
from ingest.tables.system_columns import is_system

_BAD_NAME: Final = (
    "CrateDB takes no column of that name (cdc_*, a leading underscore, a dot, a bracket or more than 255 bytes): "
    "rename the field at its source, name its column in the contract, or add a column cdc_extra OBJECT(IGNORED)"
)


class UnknownFields:
    """The fields without a column of one table. keeps_extra: cdc_extra takes what goes nowhere else.

    refuse: called with the columns that are to be added; it may raise Parked.
    """

    def __init__(self, policy: str, *, keeps_extra: bool, refuse: Callable[[Sequence[NewColumn]], None]) -> None:
        self.policy: Final = policy
        self._keeps_extra = keeps_extra
        self._refuse = refuse
        self._passed: frozenset[str] | None = None
        # Records by the fields without a column that they brought; the express way counts here too.
        self.counts: Final[Counter[frozenset[str]]] = Counter()

    def stop_at(self, passed: Collection[str] | None) -> None:
        """Stop at fields without a column from now on, unless they are among these; None: at none."""
        self._passed = None if passed is None else frozenset(passed)

    def extra(self, shape: Shape, envelope: Envelope, after: Fields) -> dict[str, Any] | None:
        """What goes into cdc_extra. Raises NewFields, or Reject for a record that must not have such fields."""
        unknown = shape.unknown
        if unknown:
            if self._passed is not None and not unknown <= self._passed:
                self._stop(unknown - self._passed, envelope, after)
            if self.policy == "reject":
                raise Reject("field.unknown", "the record has a field without a column", column=min(unknown))
            if self.policy == "ignore":  # nobody takes the others, and a topic may make up new sets of names for ever
                self.counts[unknown] += 1
        try:
            return {name: read(after[name]) for name, read in shape.extra} or None
        except Reject as reject:
            raise Reject(reject.code, reject.text, column="cdc_extra") from None

    def _stop(self, names: frozenset[str], envelope: Envelope, after: Fields) -> None:
        adds = self.policy == "add"
        bad = {name for name in names if is_system(name) or (adds and not is_good_name(name))}
        if columns := new_columns(names - bad, envelope.schema, after):
            if adds:
                self._refuse(columns)
            raise NewFields([column if is_good_name(column.name) else column._replace(type="") for column in columns])
        if adds and not self._keeps_extra:
            for name in sorted(bad):
                if after.get(name) is not None:
                    raise Reject("field.bad_name", _BAD_NAME, column=name)

    def take_counts(self) -> Counter[str]:
        """Records that brought each field without a column since the last call, without reserved names (cdc_*)."""
        found: Counter[str] = Counter()
        for names, records in self.counts.items():
            found.update(dict.fromkeys((name for name in names if not is_system(name)), records))
        self.counts.clear()
        return found
