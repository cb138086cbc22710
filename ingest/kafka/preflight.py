"""What of Kafka can be seen before reading: broker, topics, offsets, group, dead-letter topic, newest records. For `check`.

Asks through the admin client and a Peek: joins no group, commits nothing, creates nothing. Each question stands alone: one that
is not answered is named in `untold`, one that the broker forbids in `refused`. Blocks for some seconds at most per question.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic, sleep
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from kafka import KafkaAdminClient, TopicPartition
from kafka import errors as client
from kafka.admin import ConfigResource, ConfigResourceType, OffsetSpec

from ingest.errors import IngestError
from ingest.kafka import client_seams
from ingest.kafka.client_errors import translate
from ingest.kafka.codecs import missing_packages
from ingest.kafka.options import DeadLetterSettings, KafkaSettings, admin_options
from ingest.kafka.peek import Peek
from ingest.kafka.topics import wanted
from ingest.model import Partition, Record

Told = TypeVar("Told")
Offsets = Mapping[int, int]
NONE: Offsets = MappingProxyType({})

ASK_TIMEOUT_MS = 5_000
COORDINATOR_S = 10.0
NO_LEADER = 5
# A glance: enough to see what a topic holds, few enough for a minute's worth of topics.
RECORDS_PER_PARTITION = 2
PARTITIONS_PER_TOPIC = 3


class TopicSeen(NamedTuple):
    """A topic. begins, ends, commits: offsets by partition, as far as they were told; commits are those of the group.

    config: Kafka's own names, None where not told. operations: what we may do, None where not told.
    """

    name: str
    partitions: int
    leaderless: int = 0
    config: Mapping[str, str] | None = None
    operations: frozenset[str] | None = None
    begins: Offsets = NONE
    ends: Offsets = NONE
    commits: Offsets = NONE

    def number(self, name: str) -> int | None:
        """A setting of the topic, None where it is not told."""
        value = (self.config or {}).get(name)
        return int(value) if value is not None else None

    @property
    def policies(self) -> frozenset[str]:
        return frozenset(part.strip() for part in (self.config or {}).get("cleanup.policy", "").split(",") if part.strip())

    @property
    def is_empty(self) -> bool:
        return all(self.begins.get(number, 0) == end for number, end in self.ends.items())

    def may(self, operation: str) -> bool:
        return self.operations is None or operation in self.operations


class GroupSeen(NamedTuple):
    """A consumer group. protocol: how its members assign partitions, "" without members."""

    state: str
    protocol: str
    members: int
    operations: frozenset[str] | None


class LettersSeen(NamedTuple):
    """The dead-letter topic: as it is, or as the broker would make it; refusal: why it would not."""

    topic: TopicSeen | None
    exists: bool
    refusal: str = ""


@dataclass(slots=True)
class Seen:
    """topics: those that would be read. missing: names that do not exist. existing: all that we may see.

    missing_codecs: packages without which some batches cannot be read.
    """

    version: tuple[int, ...] = ()
    brokers: int = 0
    cluster: str = ""
    has_pattern: bool = False
    topics: dict[str, TopicSeen] = field(default_factory=dict)
    existing: frozenset[str] = frozenset()
    missing: tuple[str, ...] = ()
    missing_codecs: tuple[str, ...] = ()
    group: GroupSeen | None = None
    letters: LettersSeen | None = None
    untold: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def ask(self, question: str, ask: Callable[[], Told]) -> Told | None:
        """The answer; None, and a note, where there is none. The client raises ValueError for what it cannot even ask."""
        try:
            return with_a_coordinator(ask)
        except client.AuthorizationError as error:
            self.refused.append(f"{question} ({type(error).__name__})")
        except (client.KafkaError, ValueError) as error:
            self.untold.append(f"{question} ({type(error).__name__})")
        return None


def with_a_coordinator(ask: Callable[[], Told]) -> Told:
    """The answer. A broker makes what it needs to coordinate groups when the first is asked for, and answers before it has it."""
    deadline_s = monotonic() + COORDINATOR_S
    while True:
        try:
            return ask()
        except (client.CoordinatorNotAvailableError, client.CoordinatorLoadInProgressError, client.NotCoordinatorError):
            if monotonic() > deadline_s:
                raise
            sleep(0.2)


def look(settings: KafkaSettings, letters: DeadLetterSettings) -> Seen:
    """Raises Retry when nobody answers, Stop for what only a person can mend."""
    topics = wanted(settings.topics, settings.dlq_topic)
    seen = Seen(has_pattern=topics.pattern is not None, missing_codecs=tuple(missing_packages()))
    with _admin(letters) as admin:
        seen.version = _version(admin)
        seen.existing = frozenset(admin.list_topics())
        cluster = seen.ask("the brokers", admin.describe_cluster) or {}
        seen.brokers, seen.cluster = len(cluster.get("brokers", ())), str(cluster.get("cluster_id") or "")
        read = _read(seen.existing, topics.names, topics.pattern)
        seen.missing = tuple(name for name in settings.topics if not name.startswith("^") and name not in seen.existing)
        seen.topics = _with_offsets(seen, admin, _described(seen, admin, read), settings.group_id)
        seen.group = seen.ask(f"group {settings.group_id}", lambda: _group(admin, settings.group_id))
        seen.letters = _letters(seen, admin, letters)
    return seen


def newest_records(settings: KafkaSettings, topics: Collection[TopicSeen]) -> dict[str, list[Record]]:
    """A few of the newest records of each topic, the newest of each partition last. Raises what Peek raises."""
    with Peek(settings) as peek:
        return {topic.name: list(_newest(peek, topic)) for topic in topics}


def _newest(peek: Peek, topic: TopicSeen) -> Iterator[Record]:
    filled = [number for number, end in sorted(topic.ends.items()) if end > topic.begins.get(number, 0)]
    for number in filled[:PARTITIONS_PER_TOPIC]:
        end = topic.ends[number]
        yield from peek.records(Partition(topic.name, number), max(topic.begins.get(number, 0), end - RECORDS_PER_PARTITION), end)


@contextmanager
def _admin(letters: DeadLetterSettings) -> Iterator[Any]:
    """Errors of questions that all others hang on are translated."""
    client_seams.check_client()
    try:
        options = admin_options(letters) | {"request_timeout_ms": ASK_TIMEOUT_MS}
        admin = client_seams.construct(KafkaAdminClient, options)
        try:
            yield admin
        finally:
            admin.close()
    except IngestError:
        raise
    except client.KafkaError as error:
        raise translate(error, "asking for topics") from error


def _version(admin: Any) -> tuple[int, ...]:
    version: tuple[int, ...] = tuple(admin.get_broker_version_data(_any_broker(admin)).broker_version)
    return version


def _any_broker(admin: Any) -> int:
    return int(admin.describe_cluster()["brokers"][0]["broker_id"])


def _read(existing: Collection[str], names: tuple[str, ...], pattern: str | None) -> list[str]:
    """
    >>> _read({"a", "b"}, (), "^a"), _read({"a", "b"}, ("b", "c"), None)
    (['a'], ['b'])
    """
    return sorted(topic for topic in existing if (re.match(pattern, topic) if pattern else topic in names))


# ---------------------------------------------------------------- topics


def _described(seen: Seen, admin: Any, names: Sequence[str]) -> dict[str, TopicSeen]:
    if not names:
        return {}
    configs = seen.ask("the settings of topics", lambda: _configs(admin, names)) or {}
    found = seen.ask("the partitions of topics", lambda: admin.describe_topics(list(names))) or []
    return {each["name"]: _topic(each, configs.get(each["name"])) for each in found if each["partitions"]}


def _topic(described: Mapping[str, Any], config: Mapping[str, str] | None) -> TopicSeen:
    partitions = described["partitions"]
    leaderless = sum(each["error_code"] == NO_LEADER or each["leader_id"] < 0 for each in partitions)
    return TopicSeen(described["name"], len(partitions), leaderless, config or None, _operations(described))


def _operations(described: Mapping[str, Any]) -> frozenset[str] | None:
    told = described.get("authorized_operations")
    return None if told is None else frozenset(told)


def _configs(admin: Any, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Empty for a topic whose settings we may not see."""
    asked = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    found = admin.describe_configs(asked, config_filter="all").get("topic", {})
    return {topic: _values(options) for topic, options in found.items()}


def _values(options: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    return {name: str(option["value"]) for name, option in options.items() if option.get("value") is not None}


def _with_offsets(seen: Seen, admin: Any, topics: Mapping[str, TopicSeen], group_id: str) -> dict[str, TopicSeen]:
    led = [topic for topic in topics.values() if not topic.leaderless]
    places = [TopicPartition(topic.name, number) for topic in led for number in range(topic.partitions)]
    begins = seen.ask("where topics begin", lambda: _offsets(admin, places, OffsetSpec.EARLIEST)) or {}
    ends = seen.ask("where topics end", lambda: _offsets(admin, places, OffsetSpec.LATEST)) or {}
    commits = seen.ask(f"what group {group_id} has read", lambda: _commits(admin, group_id)) or {}
    return {
        name: topic._replace(begins=begins.get(name, {}), ends=ends.get(name, {}), commits=commits.get(name, {}))
        for name, topic in topics.items()
    }


def _offsets(admin: Any, places: Sequence[TopicPartition], spec: Any) -> dict[str, dict[int, int]]:
    if not places:
        return {}
    found = admin.list_partition_offsets(dict.fromkeys(places, spec), timeout_ms=ASK_TIMEOUT_MS)
    return _by_topic({place: answer.offset for place, answer in found.items()})


def _commits(admin: Any, group_id: str) -> dict[str, dict[int, int]]:
    found = admin.list_group_offsets([group_id]).get(group_id, {})
    return _by_topic({place: commit.offset for place, commit in found.items() if commit.offset >= 0})


def _by_topic(offsets: Mapping[TopicPartition, int]) -> dict[str, dict[int, int]]:
    topics: dict[str, dict[int, int]] = {}
    for place, offset in offsets.items():
        topics.setdefault(place.topic, {})[place.partition] = offset
    return topics


# ---------------------------------------------------------------- group and dead letters


def _group(admin: Any, group_id: str) -> GroupSeen:
    found = admin.describe_groups([group_id])[group_id]
    return GroupSeen(found["group_state"], str(found["protocol_data"] or ""), len(found["members"]), _operations(found))


def _letters(seen: Seen, admin: Any, letters: DeadLetterSettings) -> LettersSeen:
    name = letters.topic
    if name in seen.existing:
        return LettersSeen(_described(seen, admin, [name]).get(name), exists=True)
    if not letters.may_create:
        return LettersSeen(None, exists=False)
    shape = {"num_partitions": letters.partitions, "replication_factor": letters.replicas}
    try:
        # The broker goes through all of a creation, permission and replicas included, and makes nothing.
        (found,) = admin.create_topics({name: shape}, validate_only=True)["topics"]
    except client.KafkaError as error:
        return LettersSeen(None, exists=False, refusal=type(error).__name__)
    config = _values(found.get("configs") or {})
    return LettersSeen(TopicSeen(name, found["num_partitions"], config=config or None), exists=False)
