"""Every line that the worker may log, declared once; docs/logs.md is made from the declarations, and a test holds the source
to them. Pure data.

Names, counts, positions, codes and names of columns only: the values of rows stand in the tables and in dead letters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

# What each line has. An event's own fields follow.
HEAD: Mapping[str, str] = {
    "time": "UTC, with milliseconds",
    "level": "debug, info, warning or error",
    "event": "a name of the list below; it does not change between versions without a word in CHANGELOG.md",
    "logger": "the part of the program that speaks",
}
# What a line may have besides.
ANYWHERE: Mapping[str, str] = {
    "suppressed": "how many lines of this event and code were left out since the last one",
    "trace": "the traceback of the error behind the line",
}
FIELDS: Mapping[str, str] = {
    "at": "position of a record, `topic[partition]@offset`",
    "attempt": "how often it was tried, from 1",
    "columns": "names of columns, or of fields without one",
    "code": "a stable dotted code of the reason; of a process, its exit code",
    "dead_lettered": "records in the dead-letter topic",
    "error": "name of the client's error",
    "exit_code": "of a process, as a shell tells it: 137 is a SIGKILL",
    "from": "position of the first record, or offset before a gap",
    "group": "consumer group",
    "handed_back": "records left to whoever reads the partition next",
    "held": "partitions that the worker has now",
    "kept": "what the table can promise: ordered or arrival",
    "lane": "table and slot",
    "park": "rows whose table must be parked",
    "partition": "topic and partition",
    "partitions": "how many partitions",
    "pid": "number of the process",
    "read": "records read",
    "reason": "why it happened; of a batch, why it went: full, linger, flush, again",
    "records": "how many records since the last such line",
    "rejected": "rows that CrateDB refuses for ever",
    "retry": "rows to be sent again",
    "rows": "how many rows",
    "says": "sentences on how the table is filled, and what does not hold for it",
    "size_bytes": "bytes",
    "skipped": "records that are no rows, by rule",
    "slots": "which of the table's lanes; what fits into one request goes in one",
    "start_from": "INGEST_START_FROM",
    "starts": "how often the process was started",
    "statements": "requests to CrateDB",
    "stop": "rows that mean that nothing can be written",
    "subject": "`table:NAME` or `topic:NAME`",
    "superseded": "rows, or records, that a newer version had overtaken",
    "table": "full name of the table",
    "text": "a sentence for people; may change between versions",
    "to": "position of the last record, or offset behind a gap",
    "took_ms": "milliseconds from the request to the answer",
    "topic": "topic",
    "topics": "topics, or the pattern",
    "total": "how many since the start",
    "unsettled": "records that were read and are not settled",
    "wait_s": "seconds until it is tried again",
    "worker": "number of the worker process, from 0",
    "written": "rows, or records, that CrateDB confirmed",
}


class Event(NamedTuple):
    """One kind of line. fields: in the order in which they stand; some may be missing where they would be 0."""

    name: str
    level: str
    meaning: str
    fields: tuple[str, ...] = ()


FATES = ("written", "superseded", "rejected", "retry", "park", "stop")
EVENTS: tuple[Event, ...] = (
    Event("subscribed", "info", "The worker has found its topics.", ("topics", "group")),
    Event("first_start", "info", "The group has not read these topics before.", ("topics", "partitions", "start_from")),
    Event("assigned", "info", "Partitions came.", ("partitions", "held")),
    Event("revoked", "info", "Partitions went, drained and committed.", ("partitions", "held")),
    Event("lost", "warning", "Partitions went without notice: the group thought the worker dead.", ("partitions",)),
    Event("start_unknown", "warning", "Where to start is not known yet; asked again.", ("partitions", "error")),
    Event("table", "info", "A table's description was read, or has changed.", ("table", "kept", "says")),
    Event(
        "batch", "info", "A batch came back from CrateDB; level debug if all of it must be sent again.",
        ("table", "slots", "rows", *FATES, "reason", "took_ms", "statements", "from", "to"),
    ),
    Event(
        "batch_retry", "warning", "Rows of a batch must be sent again.",
        ("lane", "code", "text", "rows", "attempt", "wait_s"),
    ),
    Event("store_back", "info", "CrateDB answers again."),
    Event("tables_retry", "warning", "CrateDB's catalogue could not be read.", ("code", "text", "attempt", "wait_s")),
    Event("fields_retry", "warning", "New columns could not be looked for, or added.", ("code", "text", "attempt", "wait_s")),
    Event("truncate_retry", "warning", "A table could not be emptied.", ("code", "text", "attempt", "wait_s")),
    Event(
        "fields_ignored", "warning", "Fields without a column are left out; `text` is the ALTER TABLE that keeps them.",
        ("table", "columns", "text"),
    ),
    Event("columns_added", "info", 'Fields got columns, as `unknown_fields = "add"` says.', ("table", "columns")),
    Event(
        "table_reshaped", "warning", "A column went or got another type meanwhile; what was under way is mapped again.",
        ("table", "text"),
    ),
    Event("table_emptied", "warning", 'The source truncated a table whose contract says `truncate = "empty"`.', ("table", "at")),
    Event("schema_retry", "warning", "The schema registry did not answer.", ("code", "text", "attempt", "wait_s")),
    Event("kafka_retry", "warning", "Kafka did not answer, or not well.", ("code", "text", "wait_s")),
    Event(
        "watermarks_trouble", "warning", "`ingest_watermarks` could not be written; level debug while the trouble is the same.",
        ("code", "text", "wait_s"),
    ),
    Event("end_offsets_retry", "warning", "The ends of the topics could not be read.", ("code", "text")),
    Event("prefetch_failed", "debug", "Reading ahead failed; the next poll reads.", ("error",)),
    Event("librdkafka", "debug", "With INGEST_KAFKA_CLIENT=librdkafka: what it said by the way.", ("error", "partition")),
    Event("committed", "debug", "Offsets were committed.", ("partitions",)),
    Event("commit_failed", "warning", "Offsets were not committed; done again.", ("text", "error", "partitions")),
    Event("parked", "error", "A table or topic waits for a person; `text` says what to do.", ("subject", "code", "text")),
    Event("unparked", "info", "It goes on: an operator, or the catalogue (code), said so.", ("subject", "code")),
    Event(
        "gap_passed", "warning", "Records were gone before they were read; INGEST_ON_GAP said go on.",
        ("partition", "from", "to"),
    ),
    Event(
        "dead_letters", "warning", "Records that can never be stored went to the dead-letter topic; at most once a second.",
        ("code", "records", "total"),
    ),
    Event("dlq_topic_created", "info", "The dead-letter topic was missing.", ("topic",)),
    Event("dead_letter_cut", "warning", "A dead letter above the broker's limit went without its value.", ("at", "size_bytes")),
    Event("dead_letters_trouble", "warning", "Dead letters cannot be written now; tried again.", ("code", "text")),
    Event("decoder_fallback", "warning", "The client changed; its own slower decoder is used.", ("reason",)),
    Event("express_failed", "error", "A bug in the short way to read a topic; its records take the long way.", ("topic", "text")),
    Event("http_failed", "error", "A request to the HTTP server met a bug; level debug if the client went away.", ("error",)),
    Event("drain_ended", "error", "Stopping ended before all was settled; it is read again.", ("code", "text")),
    Event("close_failed", "warning", "Leaving the group failed; it finds out by itself.", ("error",)),
    Event(
        "stopped", "info", "The last line: the books.",
        ("read", "written", "superseded", "skipped", "dead_lettered", "handed_back", "unsettled"),
    ),
    Event("ended", "error", "Why the worker ended with another exit code than 0; one line per reason.", ("code", "text")),
    Event("bug", "error", "An error that nobody foresaw, with its trace; please report it."),
    Event("migrated", "info", "With INGEST_MIGRATE: what was applied, or is waited for.", ("text",)),
    Event("certificate_unchecked", "warning", "A setting says not to check CrateDB's certificate.", ("text",)),
    Event("worker_started", "info", "With INGEST_WORKERS: a worker process was started.", ("worker", "pid", "starts")),
    Event(
        "worker_died", "error", "With INGEST_WORKERS: a worker process ended by itself and is started again.",
        ("worker", "exit_code", "wait_s"),
    ),
    Event("check_failed", "debug", "`ingest check`: what it could not look at, with the trace."),
    Event("library", "warning", "What a client library says, at most once in 30 s from each place.", ("text",)),
)  # fmt: skip
