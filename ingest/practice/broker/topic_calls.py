"""The calls about topics and records: produce, fetch, offsets, metadata, and what an admin does to topics.

Translates between kafka-python's protocol classes and `log`. Runs on the broker's loop thread.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from kafka.protocol.admin import (
    CreatePartitionsRequest,
    CreatePartitionsResponse,
    CreateTopicsRequest,
    CreateTopicsResponse,
    DeleteRecordsRequest,
    DeleteRecordsResponse,
    DeleteTopicsRequest,
    DeleteTopicsResponse,
)
from kafka.protocol.consumer import (
    FetchRequest,
    FetchResponse,
    ListOffsetsRequest,
    ListOffsetsResponse,
    OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
)
from kafka.protocol.metadata import MetadataRequest, MetadataResponse
from kafka.protocol.producer import InitProducerIdRequest, InitProducerIdResponse, ProduceRequest, ProduceResponse

from ingest.practice.broker.codes import Api, Code
from ingest.practice.broker.log import PartitionLog, Topics
from ingest.practice.broker.wire import Call, Served

NODE_ID = 1
CLUSTER_ID = "ingest-practice"
EARLIEST, LATEST = -2, -1
LEGAL_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}")


class _Read(NamedTuple):
    """What one round over a fetch request found. settled: nothing would be gained by waiting."""

    topics: list[Any]
    size_bytes: int
    has_errors: bool


class TopicCalls:
    """Answers the calls about topics and records."""

    def __init__(self, topics: Topics, *, port: Callable[[], int], auto_create: bool) -> None:
        self._topics = topics
        self._port = port
        self._auto_create = auto_create
        self._arrival = asyncio.Event()
        self._last_producer_id = 0

    def served(self) -> dict[Api, Served]:
        """The versions end where fields would come that need more than this broker has (topic ids, transactions)."""
        return {
            Api.PRODUCE: Served(ProduceRequest, (3, 9), self.produce),
            Api.FETCH: Served(FetchRequest, (4, 12), self.fetch),
            Api.LIST_OFFSETS: Served(ListOffsetsRequest, (1, 6), self.list_offsets),
            Api.METADATA: Served(MetadataRequest, (0, 9), self.metadata),
            Api.CREATE_TOPICS: Served(CreateTopicsRequest, (2, 6), self.create_topics),
            Api.DELETE_TOPICS: Served(DeleteTopicsRequest, (1, 5), self.delete_topics),
            Api.DELETE_RECORDS: Served(DeleteRecordsRequest, (0, 2), self.delete_records),
            Api.CREATE_PARTITIONS: Served(CreatePartitionsRequest, (0, 3), self.create_partitions),
            Api.INIT_PRODUCER_ID: Served(InitProducerIdRequest, (0, 4), self.init_producer_id),
            Api.OFFSET_FOR_LEADER_EPOCH: Served(OffsetForLeaderEpochRequest, (2, 4), self.offset_for_leader_epoch),
        }

    # ------------------------------------------------------------ records

    async def produce(self, call: Call) -> Any:
        topics = [
            ProduceResponse.TopicProduceResponse(
                name=topic.name, partition_responses=[self._append(topic.name, part, call) for part in topic.partition_data]
            )
            for topic in call.request.topic_data
        ]
        self.announce()
        return ProduceResponse(version=call.version, responses=topics, throttle_time_ms=0) if call.request.acks else None

    def _append(self, topic: str, part: Any, call: Call) -> Any:
        log = self._topics.find(topic, part.index)
        code, base_offset = call.fault, -1
        if log is None:
            code = code or Code.UNKNOWN_TOPIC_OR_PARTITION
        elif not code:
            code, base_offset = log.append(bytes(part.records or b""))
        return ProduceResponse.TopicProduceResponse.PartitionProduceResponse(
            index=part.index, error_code=code, base_offset=base_offset, log_append_time_ms=-1,
            log_start_offset=log.start if log else -1, record_errors=[], error_message=None,
        )  # fmt: skip

    def announce(self) -> None:
        """Records have come: wake the fetches that wait."""
        self._arrival.set()
        self._arrival = asyncio.Event()

    async def fetch(self, call: Call) -> Any:
        """Answered when min_bytes are there, when something is wrong, or after max_wait_ms."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + call.request.max_wait_ms / 1000
        while True:
            arrival, read = self._arrival, self._read(call)
            left_s = end_s - loop.time()
            if read.size_bytes >= max(1, call.request.min_bytes) or read.has_errors or left_s <= 0:
                return FetchResponse(version=call.version, throttle_time_ms=0, error_code=0, session_id=0, responses=read.topics)
            try:
                await asyncio.wait_for(arrival.wait(), left_s)
            except TimeoutError:
                continue  # one last look

    def _read(self, call: Call) -> _Read:
        answers, left_bytes, has_errors = [], call.request.max_bytes, bool(call.fault)
        for topic in call.request.topics:
            parts = []
            for part in topic.partitions:
                log = self._topics.find(topic.topic, part.partition)
                code = call.fault or _position_fault(log, part.fetch_offset)
                records = b""
                if log and not code and left_bytes > 0 and part.fetch_offset < log.end:
                    records = log.read(part.fetch_offset, min(part.partition_max_bytes, left_bytes))
                left_bytes -= len(records)
                has_errors = has_errors or bool(code)
                parts.append(_fetched(part.partition, code, log, records))
            answers.append(FetchResponse.FetchableTopicResponse(topic=topic.topic, partitions=parts))
        return _Read(answers, call.request.max_bytes - left_bytes, has_errors)

    async def list_offsets(self, call: Call) -> Any:
        answer = ListOffsetsResponse.ListOffsetsTopicResponse
        topics = [
            answer(name=topic.name, partitions=[self._offset_at(topic.name, part, call.fault) for part in topic.partitions])
            for topic in call.request.topics
        ]
        return ListOffsetsResponse(version=call.version, throttle_time_ms=0, topics=topics)

    def _offset_at(self, topic: str, part: Any, fault: int) -> Any:
        log = self._topics.find(topic, part.partition_index)
        offset, timestamp_ms = -1, -1
        if log and part.timestamp in (EARLIEST, LATEST):
            offset = log.start if part.timestamp == EARLIEST else log.end
        elif log:
            offset, timestamp_ms = log.offset_at(part.timestamp)
        return ListOffsetsResponse.ListOffsetsTopicResponse.ListOffsetsPartitionResponse(
            partition_index=part.partition_index, error_code=fault or _existence_fault(log),
            timestamp=timestamp_ms, offset=offset, leader_epoch=0,
        )  # fmt: skip

    async def offset_for_leader_epoch(self, call: Call) -> Any:
        answer = OffsetForLeaderEpochResponse.OffsetForLeaderTopicResult
        topics = [
            answer(
                topic=topic.topic, partitions=[self._epoch_end(topic.topic, part.partition, call) for part in topic.partitions]
            )
            for topic in call.request.topics
        ]
        return OffsetForLeaderEpochResponse(version=call.version, throttle_time_ms=0, topics=topics)

    def _epoch_end(self, topic: str, number: int, call: Call) -> Any:
        log = self._topics.find(topic, number)
        return OffsetForLeaderEpochResponse.OffsetForLeaderTopicResult.EpochEndOffset(
            error_code=call.fault or _existence_fault(log), partition=number, leader_epoch=0, end_offset=log.end if log else -1
        )

    async def init_producer_id(self, call: Call) -> Any:
        self._last_producer_id += 1
        return InitProducerIdResponse(
            version=call.version, throttle_time_ms=0, error_code=call.fault, producer_id=self._last_producer_id, producer_epoch=0
        )

    # ------------------------------------------------------------ topics

    async def metadata(self, call: Call) -> Any:
        request = call.request
        wants_all = request.topics is None or (call.version == 0 and not request.topics)
        names = self._topics.names() if wants_all else [topic.name for topic in request.topics]
        if self._auto_create and (call.version < 4 or request.allow_auto_topic_creation):
            for name in filter(LEGAL_NAME.fullmatch, names):
                self._topics.create(name)
        broker = MetadataResponse.MetadataResponseBroker(node_id=NODE_ID, host="127.0.0.1", port=self._port(), rack=None)
        return MetadataResponse(
            version=call.version, throttle_time_ms=0, brokers=[broker], cluster_id=CLUSTER_ID, controller_id=NODE_ID,
            topics=[self._described(name, call.fault) for name in names],
        )  # fmt: skip

    def _described(self, name: str, fault: int) -> Any:
        answer = MetadataResponse.MetadataResponseTopic
        missing = Code.UNKNOWN_TOPIC_OR_PARTITION if LEGAL_NAME.fullmatch(name) else Code.INVALID_TOPIC_EXCEPTION
        parts = [
            answer.MetadataResponsePartition(
                error_code=0, partition_index=number, leader_id=NODE_ID, leader_epoch=0,
                replica_nodes=[NODE_ID], isr_nodes=[NODE_ID], offline_replicas=[],
            )
            for number in range(len(self._topics.partitions(name)))
        ]  # fmt: skip
        code = fault or (Code.NONE if name in self._topics else missing)
        return answer(error_code=code, name=name, is_internal=False, partitions=parts)

    async def create_topics(self, call: Call) -> Any:
        results = [self._create(topic, call) for topic in call.request.topics]
        return CreateTopicsResponse(version=call.version, throttle_time_ms=0, topics=results)

    def _create(self, topic: Any, call: Call) -> Any:
        code = call.fault or self._creation_fault(topic)
        if not code and not call.request.validate_only:
            self._topics.create(topic.name, topic.num_partitions)
        return CreateTopicsResponse.CreatableTopicResult(
            name=topic.name, error_code=code, error_message=None, topic_config_error_code=0,
            num_partitions=len(self._topics.partitions(topic.name)), replication_factor=1, configs=[],
        )  # fmt: skip

    def _creation_fault(self, topic: Any) -> Code:
        if not LEGAL_NAME.fullmatch(topic.name):
            return Code.INVALID_TOPIC_EXCEPTION
        if topic.name in self._topics:
            return Code.TOPIC_ALREADY_EXISTS
        return Code.INVALID_PARTITIONS if topic.num_partitions == 0 else Code.NONE

    async def delete_topics(self, call: Call) -> Any:
        results = []
        for name in call.request.topic_names:
            code = call.fault or (Code.NONE if name in self._topics else Code.UNKNOWN_TOPIC_OR_PARTITION)
            if not code:
                self._topics.delete(name)
            results.append(DeleteTopicsResponse.DeletableTopicResult(name=name, error_code=code, error_message=None))
        return DeleteTopicsResponse(version=call.version, throttle_time_ms=0, responses=results)

    async def create_partitions(self, call: Call) -> Any:
        results = []
        for topic in call.request.topics:
            has = len(self._topics.partitions(topic.name))
            code = call.fault or (Code.INVALID_PARTITIONS if topic.count <= has else Code.NONE)
            code = code if has else Code.UNKNOWN_TOPIC_OR_PARTITION
            if not code and not call.request.validate_only:
                self._topics.grow(topic.name, topic.count)
            results.append(
                CreatePartitionsResponse.CreatePartitionsTopicResult(name=topic.name, error_code=code, error_message=None)
            )
        return CreatePartitionsResponse(version=call.version, throttle_time_ms=0, results=results)

    async def delete_records(self, call: Call) -> Any:
        answer = DeleteRecordsResponse.DeleteRecordsTopicResult
        topics = [answer(name=topic.name, partitions=list(self._trimmed(topic, call.fault))) for topic in call.request.topics]
        return DeleteRecordsResponse(version=call.version, throttle_time_ms=0, topics=topics)

    def _trimmed(self, topic: Any, fault: int) -> Iterator[Any]:
        for part in topic.partitions:
            log = self._topics.find(topic.name, part.partition_index)
            code = fault or _existence_fault(log)
            if log and not code:
                log.trim(log.end if part.offset < 0 else part.offset)
            yield DeleteRecordsResponse.DeleteRecordsTopicResult.DeleteRecordsPartitionResult(
                partition_index=part.partition_index, low_watermark=log.start if log else -1, error_code=code
            )


def _existence_fault(log: PartitionLog | None) -> Code:
    return Code.NONE if log else Code.UNKNOWN_TOPIC_OR_PARTITION


def _position_fault(log: PartitionLog | None, offset: int) -> Code:
    if log is None:
        return Code.UNKNOWN_TOPIC_OR_PARTITION
    return Code.NONE if log.start <= offset <= log.end else Code.OFFSET_OUT_OF_RANGE


def _fetched(number: int, code: int, log: PartitionLog | None, records: bytes) -> Any:
    end = log.end if log else -1
    return FetchResponse.FetchableTopicResponse.PartitionData(
        partition_index=number, error_code=code, high_watermark=end, last_stable_offset=end,
        log_start_offset=log.start if log else -1, aborted_transactions=[], preferred_read_replica=-1, records=records,
    )  # fmt: skip
