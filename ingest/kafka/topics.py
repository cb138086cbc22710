"""Which topics are read: names and patterns from the settings, what exists, and what is never read. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from ingest.errors import Stop

# Kafka's own topics and Debezium's heartbeats (`__debezium-heartbeat.<prefix>`) begin with two underscores;
# other heartbeat topics are called so by convention (`orders.heartbeat`, `heartbeats`).
INTERNAL = "__"
HEARTBEAT = re.compile(r"(?:^|[._-])heartbeats?(?:[._-]|$)")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to subscribe to: either names or one pattern."""

    names: tuple[str, ...] = ()
    pattern: str | None = None


def wanted(topics: Sequence[str], dlq_topic: str | None) -> Wanted:
    """The subscription for these names and ^patterns.

    Raises Stop: "kafka.topic_barred" for a name that is never read, "kafka.topic_pattern" for a pattern that cannot be compiled,
    "kafka.no_topics" for none at all.

    >>> wanted(["orders", "items"], None).names
    ('orders', 'items')
    """
    if not topics:
        raise Stop("kafka.no_topics", "there is nothing to read: name topics or ^patterns in INGEST_TOPICS")
    names = [topic for topic in topics if not topic.startswith("^")]
    patterns = [topic for topic in topics if topic.startswith("^")]
    for name in names:
        if is_barred(name, dlq_topic):
            raise Stop("kafka.topic_barred", f"topic {name} holds no rows of a table: take it out of INGEST_TOPICS")
    for pattern in patterns:
        _check(pattern)
    return Wanted(pattern=one_pattern(names, patterns, dlq_topic)) if patterns else Wanted(tuple(dict.fromkeys(names)))


def one_pattern(names: Sequence[str], patterns: Sequence[str], dlq_topic: str | None) -> str:
    """A single expression for names and patterns, because the client takes either names or one expression.

    It also says what is never read, because the client matches it against topics that are created later.
    """
    barred = [re.escape(INTERNAL), r"(?:.*[._-])?heartbeats?(?:[._-]|$)", *([re.escape(dlq_topic) + "$"] if dlq_topic else [])]
    choices = [*(f"(?:{pattern})" for pattern in patterns), *(f"{re.escape(name)}$" for name in names)]
    return f"^(?!{'|'.join(barred)})(?:{'|'.join(choices)})"


def is_barred(topic: str, dlq_topic: str | None) -> bool:
    """Whether a topic is never read, whatever a pattern says: Kafka's own, heartbeats, the dead letters."""
    return topic.startswith(INTERNAL) or topic == dlq_topic or HEARTBEAT.search(topic) is not None


def check_names(names: Collection[str], existing: Collection[str]) -> None:
    """Raises Stop("kafka.topic_missing") for names that do not exist, with the nearest that do: reading would wait for ever."""
    missing = sorted(set(names) - set(existing))
    if not missing:
        return
    near = get_close_matches(missing[0], sorted(existing), n=1, cutoff=0.6)
    hint = f", the nearest name is {near[0]}" if near else ""
    others = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
    text = f"topic {missing[0]}{others} does not exist{hint}: correct INGEST_TOPICS or create the topic"
    raise Stop("kafka.topic_missing", text)


def _check(pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise Stop("kafka.topic_pattern", f"{pattern!r} in INGEST_TOPICS is no regular expression: {error}") from error
