"""The consumer that one writes in an afternoon: a poll loop, json, and executemany of CrateDB's own client.

    python -m bench.naive KAFKA CRATE TOPIC GROUP TABLE FORMAT MONTHS

It is honest work: the last event of each key in a batch wins, one upsert and one delete statement a batch, offsets are committed
behind them. What it lacks is what takes longer than an afternoon: a guard against replays, moves between months, errors of single
rows, rebalances, memory. It runs until it is told to stop.
"""

import base64
import json
import signal
import sys
from datetime import UTC, datetime

from crate import client
from kafka import KafkaConsumer

BATCH = 5_000
RUNNING = True


def stop(*_):
    global RUNNING
    RUNNING = False


def month_of(ms):
    moment = datetime.fromtimestamp(ms / 1000, UTC)
    return int(datetime(moment.year, moment.month, 1, tzinfo=UTC).timestamp() * 1000)


def debezium_row(row):
    """Debezium says moments in microseconds and decimals in base64; the columns' names tell them apart here."""
    if row is None:
        return None
    for name, value in row.items():
        if value is None:
            continue
        if name in ("created_at", "updated_at"):
            row[name] = value // 1000
        elif name == "total":
            row[name] = int.from_bytes(base64.b64decode(value), "big", signed=True) / 100
    return row


def read_debezium(value):
    event = json.loads(value)
    event = event.get("payload", event)
    return debezium_row(event["before"] if event["op"] == "d" else event["after"]), event["op"] == "d"


def read_cockroach(value):
    event = json.loads(value)
    row = event["after"] or event["before"]
    for name in ("created_at", "updated_at"):
        row[name] = int(datetime.fromisoformat(row[name]).timestamp() * 1000)
    return row, event["after"] is None


def read_plain(value):
    row = json.loads(value)
    for name in ("created_at", "updated_at"):
        row[name] = int(datetime.fromisoformat(row[name]).timestamp() * 1000)
    return row, False


READERS = {
    "debezium": read_debezium,
    "debezium-schema": read_debezium,
    "cockroach": read_cockroach,
    "plain": read_plain,
}


def apply(cursor, table, values, read, has_months):
    latest = {}
    for value in values:
        if value is not None:
            row, is_delete = read(value)
            if has_months:
                row["month"] = month_of(row["created_at"])
            latest[row["id"]] = (row, is_delete)
    upserts = [row for row, is_delete in latest.values() if not is_delete]
    deletes = [row for row, is_delete in latest.values() if is_delete]
    key = ["id", "month"] if has_months else ["id"]
    if upserts:
        names = list(upserts[0])
        sets = ", ".join(f"{name} = excluded.{name}" for name in names if name not in key)
        cursor.executemany(
            f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))}) "
            f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {sets}",
            [[row[name] for name in names] for row in upserts],
        )
    if deletes:
        where = " AND ".join(f"{name} = ?" for name in key)
        cursor.executemany(f"DELETE FROM {table} WHERE {where}", [[row[name] for name in key] for row in deletes])


def main(kafka, crate, topic, group, table, wire, months):
    signal.signal(signal.SIGTERM, stop)
    consumer = KafkaConsumer(
        topic,
        bootstrap_servers=kafka,
        group_id=group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_poll_records=BATCH,
    )
    cursor = client.connect(crate, username="crate").cursor()
    while RUNNING:
        records = consumer.poll(timeout_ms=200, max_records=BATCH)
        values = [record.value for part in records.values() for record in part]
        if values:
            apply(cursor, table, values, READERS[wire], months == "months")
            consumer.commit()
    consumer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
