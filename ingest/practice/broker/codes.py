"""Kafka's error codes and API keys, as far as the practice broker answers them. Numbers only."""

from __future__ import annotations

from enum import IntEnum


class Code(IntEnum):
    """Error codes of the Kafka protocol, under Kafka's own names."""

    NONE = 0
    OFFSET_OUT_OF_RANGE = 1
    CORRUPT_MESSAGE = 2
    UNKNOWN_TOPIC_OR_PARTITION = 3
    MESSAGE_TOO_LARGE = 10
    ILLEGAL_GENERATION = 22
    INCONSISTENT_GROUP_PROTOCOL = 23
    UNKNOWN_MEMBER_ID = 25
    REBALANCE_IN_PROGRESS = 27
    INVALID_TOPIC_EXCEPTION = 17
    UNSUPPORTED_VERSION = 35
    TOPIC_ALREADY_EXISTS = 36
    INVALID_PARTITIONS = 37
    UNSUPPORTED_FOR_MESSAGE_FORMAT = 43
    OUT_OF_ORDER_SEQUENCE_NUMBER = 45
    INVALID_PRODUCER_EPOCH = 47
    NON_EMPTY_GROUP = 68
    GROUP_ID_NOT_FOUND = 69
    MEMBER_ID_REQUIRED = 79
    FENCED_INSTANCE_ID = 82


class Api(IntEnum):
    """API keys of the Kafka protocol that the broker serves."""

    PRODUCE = 0
    FETCH = 1
    LIST_OFFSETS = 2
    METADATA = 3
    OFFSET_COMMIT = 8
    OFFSET_FETCH = 9
    FIND_COORDINATOR = 10
    JOIN_GROUP = 11
    HEARTBEAT = 12
    LEAVE_GROUP = 13
    SYNC_GROUP = 14
    DESCRIBE_GROUPS = 15
    LIST_GROUPS = 16
    API_VERSIONS = 18
    CREATE_TOPICS = 19
    DELETE_TOPICS = 20
    DELETE_RECORDS = 21
    INIT_PRODUCER_ID = 22
    OFFSET_FOR_LEADER_EPOCH = 23
    CREATE_PARTITIONS = 37
    DELETE_GROUPS = 42


def api_of(name: str | int) -> Api:
    """The API by number, by our name (`OFFSET_COMMIT`) or by Kafka's (`OffsetCommit`).

    >>> api_of("OffsetCommit") is api_of("offset_commit") is api_of(8)
    True
    """
    if isinstance(name, int):
        return Api(name)
    flat = name.replace("_", "").lower()
    for api in Api:
        if api.name.replace("_", "").lower() == flat:
            return api
    raise ValueError(f"the practice broker serves no API called {name}; it serves {', '.join(a.name for a in Api)}")
