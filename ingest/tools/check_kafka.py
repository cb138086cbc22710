"""The part of `check` that judges what was seen of Kafka: broker, topics, how far the group is, dead letters. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from difflib import get_close_matches

from ingest.kafka.preflight import GroupSeen, LettersSeen, Seen, TopicSeen
from ingest.kafka.topics import is_barred
from ingest.settings import Settings
from ingest.tools.check_words import DAY_MS, counted, duration, listed, size
from ingest.tools.findings import Finding, fail, ok, untold, warn

LEAST_VERSION = (2, 1)
# A worker that stops on Friday evening is started again on Monday morning.
WEEKEND_MS = 3 * DAY_MS
ENDLESS = -1
OUR_PROTOCOL = "cooperative-sticky"
# With more topics than this only those are named that have something to say.
MANY_TOPICS = 20
RETENTION, RETENTION_BYTES, DELETE_RETENTION, LARGEST = (
    "retention.ms", "retention.bytes", "delete.retention.ms", "max.message.bytes",
)  # fmt: skip


def of_kafka(settings: Settings, seen: Seen) -> Iterator[Finding]:
    """Everything, in the order of the data path."""
    yield from of_broker(settings, seen)
    yield from of_codecs(seen.missing_codecs)
    yield from of_names(settings, seen)
    yield from of_topics(settings, list(seen.topics.values()))
    yield from of_group(settings, seen.group)
    yield from of_progress(settings, list(seen.topics.values()))
    yield from of_letters(settings, seen.letters, list(seen.topics.values()))
    yield from (fail("kafka", f"the broker forbids us {what}: grant our Kafka user DESCRIBE on it") for what in seen.refused)
    yield from (untold("kafka", f"the broker does not tell {what}") for what in seen.untold)


def of_broker(settings: Settings, seen: Seen) -> Iterator[Finding]:
    version = ".".join(map(str, seen.version))
    servers = ", ".join(settings.kafka_bootstrap_servers)
    if seen.version < LEAST_VERSION:
        yield fail("kafka", f"{servers} runs version {version}: upgrade to 2.1 at least")
    else:
        yield ok(
            "kafka", f"{servers} answers, {counted(seen.brokers, 'broker')} of cluster {seen.cluster}, version {version} or later"
        )


def of_codecs(missing: Sequence[str]) -> Iterator[Finding]:
    for package in missing:
        yield fail("codecs", f"{package} is not installed, so some batches could not be read: install it")
    if not missing:
        yield ok("codecs", "gzip, snappy, lz4 and zstd can be read")


# ---------------------------------------------------------------- which topics


def of_names(settings: Settings, seen: Seen) -> Iterator[Finding]:
    """Names that lead nowhere, and what patterns match."""
    for name in seen.missing:
        near = get_close_matches(name, sorted(seen.existing), n=1, cutoff=0.6)
        hint = f", the nearest name is {near[0]}" if near else ""
        text = f"topic {name} does not exist{hint}: correct INGEST_TOPICS or create the topic"
        # Beside a pattern a name may come into being later; without one the worker does not start.
        yield warn("topics", text) if seen.has_pattern else fail("topics", text)
    for pattern in (topic for topic in settings.topics if topic.startswith("^")):
        yield of_pattern(pattern, seen.existing, settings.dead_letter_topic)
    undescribed = [name for name in settings.topics if name in seen.existing and name not in seen.topics]
    if undescribed and seen.topics:
        yield fail("topics", f"the broker tells nothing of {listed(undescribed)}: grant our Kafka user READ and DESCRIBE")


def of_pattern(pattern: str, existing: Collection[str], letters: str) -> Finding:
    """
    >>> of_pattern("^shop", ["shop.a", "shop.heartbeat", "b"], "g.dlq").text
    '^shop matches 1 topic: shop.a; 1 more is never read (heartbeats, dead letters)'
    """
    found = [topic for topic in existing if re.match(pattern, topic)]
    read = [topic for topic in found if not is_barred(topic, letters)]
    if not read:
        return warn("topics", f"{pattern} matches no topic yet: correct INGEST_TOPICS, or wait until one is created")
    barred = len(found) - len(read)
    never = f"; {barred} more {'is' if barred == 1 else 'are'} never read (heartbeats, dead letters)" if barred else ""
    return ok("topics", f"{pattern} matches {counted(len(read), 'topic')}: {listed(read)}{never}")


# ---------------------------------------------------------------- what topics are like


def of_topics(settings: Settings, topics: Sequence[TopicSeen]) -> Iterator[Finding]:
    if len(topics) > MANY_TOPICS:
        partitions = sum(topic.partitions for topic in topics)
        yield ok("topics", f"{counted(len(topics), 'topic')} with {counted(partitions, 'partition')}; only what is odd is shown")
    for topic in topics:
        odd = list(of_topic(settings, topic))
        if len(topics) <= MANY_TOPICS:
            yield ok(f"topic {topic.name}", f"{counted(topic.partitions, 'partition')}, {kept(topic)}")
        yield from odd
    most = sum(topic.partitions for topic in topics)
    if topics and settings.workers > most:
        text = f"INGEST_WORKERS={settings.workers} is more than the {counted(most, 'partition')} there are: the others would idle"
        yield warn("topics", text)


def of_topic(settings: Settings, topic: TopicSeen) -> Iterator[Finding]:
    """What is odd about a topic."""
    what = f"topic {topic.name}"
    if topic.leaderless:
        text = f"{counted(topic.leaderless, 'partition')} of {topic.partitions} without a leader cannot be read: mend the brokers"
        yield fail(what, text)
    if not topic.may("READ"):
        yield fail(what, "our Kafka user may not read it: grant it READ")
    retention_ms = topic.number(RETENTION)
    if "delete" in topic.policies and retention_ms is not None and 0 <= retention_ms < WEEKEND_MS:
        text = f"keeps records for {duration(retention_ms)} only, a worker that is away for longer loses them: raise {RETENTION}"
        yield warn(what, text)
    away_ms = topic.number(DELETE_RETENTION)
    if "compact" in topic.policies and away_ms is not None and away_ms < WEEKEND_MS:
        text = f"is compacted, a worker that is away for longer than {duration(away_ms)} misses deletes: raise {DELETE_RETENTION}"
        yield warn(what, text)
    largest = topic.number(LARGEST)
    if largest is not None and largest > settings.memory.high_bytes:
        text = f"takes records of up to {size(largest)}, for which INGEST_MEMORY_MB={settings.memory_mb} has no room: raise it"
        yield warn(what, text)


def kept(topic: TopicSeen) -> str:
    """How long a topic keeps records, in words."""
    if topic.config is None:
        return "how long it keeps records is not told"
    words = ["compacted (the last record of each key stays)"] if "compact" in topic.policies else []
    if "delete" in topic.policies:
        retention_ms = _limit(topic, RETENTION)
        words.append("keeps records without end" if retention_ms < 0 else f"keeps records for {duration(retention_ms)}")
        limit_bytes = _limit(topic, RETENTION_BYTES)
        words += [f"at most {size(limit_bytes)} a partition"] if limit_bytes >= 0 else []
    return ", ".join(words)


def kept_ms(topic: TopicSeen | None) -> int | None:
    """How long the oldest record may live; ENDLESS, or None where it is not told."""
    if topic is None or topic.config is None:
        return None
    return _limit(topic, RETENTION) if "delete" in topic.policies else ENDLESS


def _limit(topic: TopicSeen, name: str) -> int:
    value = topic.number(name)
    return ENDLESS if value is None else max(ENDLESS, value)


# ---------------------------------------------------------------- how far the group is


def of_group(settings: Settings, group: GroupSeen | None) -> Iterator[Finding]:
    name = settings.group_id
    if group is None:
        return
    if group.operations is not None and "READ" not in group.operations:
        yield fail("group", f"our Kafka user may not use group {name}: grant it READ on the group")
    if group.members and group.protocol not in ("", OUR_PROTOCOL):
        members = counted(group.members, "member")
        yield fail("group", f"the {members} of {name} assign partitions with {group.protocol}: stop them, or set INGEST_GROUP_ID")
    elif group.members:
        yield ok("group", f"{name} has {counted(group.members, 'member')} at work")
    else:
        yield ok("group", f"{name} has no member at the moment")


def of_progress(settings: Settings, topics: Sequence[TopicSeen]) -> Iterator[Finding]:
    """Lag, gaps, and topics that were never read."""
    told = [topic for topic in topics if len(topic.ends) == topic.partitions]
    new = [topic.name for topic in told if not topic.commits]
    if new:
        yield from _of_new(settings, new)
    read = [topic for topic in told if topic.commits]
    if read:
        behind = {topic.name: lag(topic) for topic in read}
        late = [f"{name} {n:,}" for name, n in behind.items() if n]
        yield ok("progress", f"{counted(sum(behind.values()), 'record')} behind" + (f" ({listed(late)})" if late else ""))
    for topic in read:
        yield from of_gaps(settings, topic)


def _of_new(settings: Settings, names: Sequence[str]) -> Iterator[Finding]:
    text = f"group {settings.group_id} has never read {listed(names)}"
    if settings.start_from == "refuse":
        yield fail("progress", f"{text}, and INGEST_START_FROM is refuse: set it to earliest or latest")
    else:
        yield ok("progress", f"{text}, it starts at the {settings.start_from} record")


def lag(topic: TopicSeen) -> int:
    """Offsets between what is committed (or where a new partition begins) and the end; compaction and transactions leave gaps."""
    starts = {number: topic.commits.get(number, topic.begins.get(number, 0)) for number in topic.ends}
    return sum(max(0, end - starts[number]) for number, end in topic.ends.items())


def of_gaps(settings: Settings, topic: TopicSeen) -> Iterator[Finding]:
    """Commits outside of what the log holds, and those that retention is about to reach."""
    what = f"topic {topic.name}"
    read = {number: topic.commits[number] for number in topic.commits.keys() & topic.begins.keys()}
    lost = {number: topic.begins[number] - commit for number, commit in read.items() if commit < topic.begins[number]}
    ahead = [number for number, end in topic.ends.items() if topic.commits.get(number, 0) > end]
    if lost:
        where = f"{counted(sum(lost.values()), 'offset')} of {counted(len(lost), 'partition')}"
        text = f"retention deleted {where} before they were read"
        if settings.on_gap == "park":
            yield fail(what, f"{text}: load the source anew if that matters, then set INGEST_ON_GAP=continue")
        else:
            yield warn(what, f"{text}, and INGEST_ON_GAP=continue goes on behind them: load the source anew if that matters")
    if ahead:
        text = (
            f"partition {listed(map(str, ahead))} ends before what the group has read, as after deleting and creating the topic"
        )
        yield fail(what, f"{text}: reset the group's offsets, or set INGEST_ON_GAP=continue")
    if not lost and _is_close(topic):
        yield warn(what, "retention will soon reach what was not read yet: start more workers, or raise its retention")


def _is_close(topic: TopicSeen) -> bool:
    """Whether in some partition less than a tenth of what is still held lies behind us, and retention deletes there."""
    for number, begin in topic.begins.items():
        commit = topic.commits.get(number)
        if begin > 0 and commit is not None and 0 <= commit - begin < (topic.ends.get(number, commit) - commit) / 10:
            return True
    return False


# ---------------------------------------------------------------- dead letters


def of_letters(settings: Settings, letters: LettersSeen | None, topics: Sequence[TopicSeen]) -> Iterator[Finding]:
    name, what = settings.dead_letter_topic, "dead letters"
    if letters is None:
        return
    if letters.refusal:
        yield fail(what, f"topic {name} does not exist and the broker would not make it ({letters.refusal}): create it yourself")
        return
    if not letters.exists and letters.topic is None:
        yield fail(what, f"topic {name} does not exist: create it, or set INGEST_DLQ_CREATE=true")
        return
    topic = letters.topic
    if topic is None:
        yield fail(what, f"topic {name} exists, but the broker tells nothing of it: grant our Kafka user WRITE and DESCRIBE")
        return
    shape = ", ".join([*([counted(topic.partitions, "partition")] if topic.partitions > 0 else []), kept(topic)])
    state = "exists" if letters.exists else "would be created with the first letter"
    yield ok(what, f"topic {name} {state}: {shape}")
    yield from (warn(what, f"topic {name} {text}") for text in _weak_letters(topic, topics))
    if not topic.may("WRITE"):
        yield fail(what, f"our Kafka user may not write to topic {name}: grant it WRITE")


def _weak_letters(letters: TopicSeen, topics: Sequence[TopicSeen]) -> Iterator[str]:
    """Why letters would be lost before somebody reads them."""
    if "compact" in letters.policies:
        yield "is compacted, so of two letters with one key the first is lost: set cleanup.policy=delete"
    age_ms, ages_ms = kept_ms(letters), [age for topic in topics if (age := kept_ms(topic)) is not None]
    longest_ms = ENDLESS if ENDLESS in ages_ms else max(ages_ms, default=None)
    if age_ms is not None and longest_ms is not None and age_ms != ENDLESS and (longest_ms == ENDLESS or age_ms < longest_ms):
        longer = "without end" if longest_ms == ENDLESS else f"for {duration(longest_ms)}"
        yield f"keeps letters for {duration(age_ms)}, while records are kept {longer}: raise {RETENTION}"
    largest, sizes = letters.number(LARGEST), [n for topic in topics if (n := topic.number(LARGEST)) is not None]
    if largest is not None and sizes and largest < max(sizes):
        yield f"takes {size(largest)} and a record may have {size(max(sizes))}, larger letters lose their value: raise {LARGEST}"
