"""Who is in a group now, and an end for groups that commands made for themselves. Blocks for some seconds at most; any thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from kafka import KafkaAdminClient

from ingest.errors import IngestError, Retry
from ingest.kafka import client_seams
from ingest.kafka.client_errors import translate
from ingest.kafka.options import DeadLetterSettings, admin_options

# "OK", and that there is no such group.
GONE: Final = frozenset({"OK", "GroupIdNotFoundError"})


def members(settings: DeadLetterSettings) -> int:
    """How many consumers the group of these settings has; 0 for one that does not exist. Raises Retry or Stop."""
    with _admin(settings, f"asking for the members of group {settings.group_id}") as admin:
        return len(admin.describe_groups([settings.group_id])[settings.group_id]["members"])


def forget(settings: DeadLetterSettings, group: str) -> None:
    """Delete a group without members, and its offsets; nothing if there is none. Raises Retry or Stop."""
    with _admin(settings, f"deleting group {group}") as admin:
        refused = [str(each) for each in admin.delete_groups([group]).values() if each not in GONE]
    if refused:
        raise Retry("kafka.group", f"Kafka does not delete group {group} ({refused[0]}): try again")


@contextmanager
def _admin(settings: DeadLetterSettings, doing: str) -> Iterator[Any]:
    try:
        client_seams.check_client()
        admin = client_seams.construct(KafkaAdminClient, admin_options(settings))
        try:
            yield admin
        finally:
            admin.close()
    except IngestError:
        raise
    except Exception as error:
        raise translate(error, doing) from error
