"""Which table a record goes to: the contract says it, else the envelope's own table name, else the topic's last part.

Names are taken exactly as they are written; CrateDB folds unquoted names to lower case, so `lower_case` gives the caller
a second name to try when the first does not exist. Memory of decisions only; touched by the loop's thread.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from ingest.errors import Parked
from ingest.tables.contract import Contract

_FORBIDDEN_SCHEMAS: Final = frozenset({"sys", "information_schema", "pg_catalog", "blob"})
_OWN_PREFIX: Final = "ingest_"

EnvelopeTable = tuple[str, ...]


class Router:
    """Routes by topic and by what an envelope says of its table. Decisions stay until the process ends."""

    def __init__(self, contracts: Sequence[Contract], *, default_schema: str, topic_prefix: str) -> None:
        self._contracts = [(contract, topic_test(contract)) for contract in contracts]
        self._default_schema = default_schema
        self._topic_prefix = topic_prefix
        self._decided: dict[tuple[str, EnvelopeTable], str] = {}
        # Asked for each partition every few seconds; without this each contract would be looked at each time.
        self._naming: dict[str, tuple[Contract, ...]] = {}
        # Who fills a table without being named by a contract: the first topic.
        self._first_topics: dict[str, str] = {}
        # What a topic calls the table that its only contract leads to.
        self._known_as: dict[tuple[str, str], str] = {}

    def route(self, topic: str, envelope_table: EnvelopeTable) -> str:
        """The full name of the target, `schema.table`.

        envelope_table: the source's own name of the table, outermost part first, () if the format does not tell it.
        Raises Parked: routing.undecided (two answers are possible), routing.forbidden (a table of the system or of ingest).
        """
        asked = (topic, envelope_table)
        decided = self._decided.get(asked)
        if decided is None:
            decided = self._decided[asked] = self._decide(topic, envelope_table)
        return decided

    def told(self, topic: str) -> tuple[str, ...]:
        """Full names of the tables to which contracts lead the topic, () where no contract names it."""
        return tuple(self._qualified(contract.table) for contract in self._that_name(topic))

    def _that_name(self, topic: str) -> tuple[Contract, ...]:
        naming = self._naming.get(topic)
        if naming is None:
            naming = self._naming[topic] = tuple(contract for contract, matches in self._contracts if matches(topic))
        return naming

    def _decide(self, topic: str, envelope_table: EnvelopeTable) -> str:
        named = self._that_name(topic)
        if len(named) > 1:
            target = self._qualified(_by_table(named, topic, envelope_table).table)
        elif named:
            target = self._qualified(named[0].table)
            self._refuse_second_name(topic, envelope_table, target)
        else:
            target = self._by_name(topic, envelope_table)
            self._refuse_second_topic(topic, target)
        _refuse_forbidden(topic, target)
        return target

    def _qualified(self, table: str) -> str:
        return table if "." in table else f"{self._default_schema}.{table}"

    def _by_name(self, topic: str, envelope_table: EnvelopeTable) -> str:
        name = envelope_table[-1] if envelope_table else topic.removeprefix(self._topic_prefix).rpartition(".")[2]
        if not name or "." in name:
            raise _undecided(topic, f"topic {topic} names no table that CrateDB could have: name it in a contract")
        return f"{self._default_schema}.{name}"

    def _refuse_second_topic(self, topic: str, target: str) -> None:
        """Two topics may be one table sharded, or two tables of the same name: only their owner knows."""
        claimed = any(self._qualified(contract.table) == target and contract.topics for contract, _ in self._contracts)
        first = self._first_topics.setdefault(target, topic) if not claimed else "its contract's topics"
        if first != topic:
            raise _undecided(topic, f"topic {topic} leads to {target} like {first}: name both in a contract, or unsubscribe one")

    def _refuse_second_name(self, topic: str, envelope_table: EnvelopeTable, target: str) -> None:
        """A topic of many tables under a contract for one of them must not pour them all into that one."""
        if not envelope_table or envelope_table[-1].lower() == target.rpartition(".")[2].lower():
            return
        known_as = self._known_as.setdefault((topic, target), envelope_table[-1])
        if known_as != envelope_table[-1]:
            raise _undecided(
                topic,
                f"topic {topic} holds the tables {known_as} and {envelope_table[-1]}, and its only contract leads to {target}: "
                "give each table a contract that names the topic",
            )


def lower_case(full_name: str) -> str | None:
    """The name that CrateDB gives to a table created without quotes; None if it is no other name.

    >>> lower_case("doc.ORDERS"), lower_case("doc.orders")
    ('doc.orders', None)
    """
    schema, _, table = full_name.partition(".")
    folded = f"{schema}.{table.lower()}"
    return folded if folded != full_name else None


def topic_test(contract: Contract) -> Callable[[str], bool]:
    """Whether a contract names a topic, by name or by an expression that the topic begins with."""
    names = frozenset(topic for topic in contract.topics if not topic.startswith("^"))
    expressions = [re.compile(topic) for topic in contract.topics if topic.startswith("^")]
    return lambda topic: topic in names or any(expression.match(topic) for expression in expressions)


def _by_table(named: Sequence[Contract], topic: str, envelope_table: EnvelopeTable) -> Contract:
    """The one of several contracts whose table has the envelope's name: exactly, else but for upper and lower case."""
    wanted = envelope_table[-1] if envelope_table else ""
    for fold in (str, str.lower):
        found = [contract for contract in named if fold(contract.table.rpartition(".")[2]) == fold(wanted)]
        if len(found) == 1:
            return found[0]
    called = f"calls its table {wanted}" if wanted else "does not tell its table"
    tables = ", ".join(contract.table for contract in named)
    text = f"the contracts of {tables} name topic {topic}, and a record of it {called}: let the names agree, or narrow `topics`"
    raise _undecided(topic, text)


def _refuse_forbidden(topic: str, target: str) -> None:
    schema, _, table = target.partition(".")
    if schema.lower() in _FORBIDDEN_SCHEMAS or table.lower().startswith(_OWN_PREFIX):
        text = f"topic {topic} leads to {target}, which is not for records: name another table in a contract, or unsubscribe it"
        raise Parked("routing.forbidden", text, subject=f"topic:{topic}")


def _undecided(topic: str, text: str) -> Parked:
    return Parked("routing.undecided", text, subject=f"topic:{topic}")
