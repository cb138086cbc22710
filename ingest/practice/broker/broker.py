"""The practice broker as its users see it: start, address, stop, and the switches that make things go wrong.

Owns one thread with its own asyncio loop; all state is touched there. Every method here may be called from any other thread.
For trying and testing only: one node, memory only, no retention, no transactions, no security.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self, TypeVar

from kafka.protocol.metadata import ApiVersionsRequest, ApiVersionsResponse
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from ingest.model import Record
from ingest.practice.broker.codes import Api, Code, api_of
from ingest.practice.broker.faults import Cut, Faults
from ingest.practice.broker.group_calls import GroupCalls
from ingest.practice.broker.groups import Committed, Coordinator
from ingest.practice.broker.log import PartitionLog, Topics
from ingest.practice.broker.topic_calls import TopicCalls
from ingest.practice.broker.wire import Call, Connections, Served

Answer = TypeVar("Answer")

# A real broker's default is 3 s; nobody wants to wait that long for a first try.
JOIN_DELAY_S = 0.05
START_S = 10.0
READ_AHEAD_BYTES = 1 << 20


class Broker:
    """A Kafka broker for practice, on 127.0.0.1.

    partitions: of a topic that is made without a number. port: 0 takes a free one.
    auto_create: whether asking for an unknown topic makes it, as Kafka does by default.
    """

    def __init__(
        self,
        *,
        partitions: int = 3,
        port: int = 0,
        auto_create: bool = True,
        join_delay_s: float = JOIN_DELAY_S,
        max_message_bytes: int = 1_048_588,
    ) -> None:
        self._port = port
        self._auto_create = auto_create
        self._topics = Topics(partitions=partitions, max_message_bytes=max_message_bytes)
        self._coordinator = Coordinator(join_delay_s=join_delay_s)
        self._faults = Faults()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._failure: OSError | None = None

    def start(self) -> Self:
        """Serve from a thread of its own; back when clients can connect. OSError where the port is taken."""
        if self._thread:
            raise RuntimeError("the practice broker runs already: stop it first")
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(ready)), name="practice-broker", daemon=True)
        self._thread.start()
        ready.wait(START_S)
        if self._failure:
            self._thread.join()
            failure, self._failure, self._thread = self._failure, None, None
            raise failure
        return self

    def stop(self) -> None:
        """Cut all connections and end the thread. Topics, offsets and the port stay for another start."""
        if not self._thread:
            return
        self._on_loop(self._ending.set)
        self._thread.join()
        self._thread = self._loop = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def address(self) -> str:
        """Where clients connect: `127.0.0.1:port`."""
        return f"127.0.0.1:{self._port}"

    # ------------------------------------------------------------ faults

    def fail_next(self, api: str | int, error_code: int, times: int = 1) -> None:
        """Answer the next calls of an API ("OffsetCommit", "produce", 8) with a Kafka error code and do nothing else."""
        self._on_loop(lambda: self._faults.add(api_of(api), error_code, times))

    def cut_next(self, api: str | int, times: int = 1, *, after: bool = False) -> None:
        """Cut the connection at the next calls of an API, before they do anything, or after, unanswered."""
        self._on_loop(lambda: self._faults.add(api_of(api), Cut.AFTER if after else Cut.BEFORE, times))

    def drop_connections(self) -> None:
        """Cut every connection that is open now; clients may come back at once."""
        self._on_loop(lambda: self._connections.drop())

    def refuse(self, on: bool) -> None:
        """Shut the door: cut what is open and hang up on whoever comes, until called with False."""

        def shut() -> None:
            self._connections.is_refusing = on
            if on:
                self._connections.drop()

        self._on_loop(shut)

    def clear_faults(self) -> None:
        """Forget the faults that no call has met yet, and open the door."""
        self._on_loop(self._faults.clear)
        self.refuse(False)

    # ------------------------------------------------------------ a look inside, and short cuts for tests

    def create_topic(self, name: str, partitions: int = -1) -> None:
        """Make a topic if there is none of that name."""
        self._on_loop(lambda: self._topics.create(name, partitions))

    def put(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        partition: int = 0,
        headers: Sequence[tuple[str, bytes | None]] = (),
        timestamp_ms: int = 0,
    ) -> int:
        """Append one record without a producer; its offset."""
        builder = DefaultRecordBatchBuilder(
            magic=2, compression_type=0, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=-1, batch_size=0
        )
        builder.append(0, timestamp_ms, key, value, list(headers))
        batch = bytes(builder.build())

        def append() -> int:
            self._topics.create(topic)
            code, offset = self._log(topic, partition).append(batch)
            if code is not Code.NONE:
                raise ValueError(f"the practice broker refuses the record: {code.name}")
            self._topic_calls.announce()
            return offset

        return self._on_loop(append)

    def records(self, topic: str) -> list[Record]:
        """All records of a topic, by partition and offset."""
        return self._on_loop(
            lambda: [
                Record(topic, number, found.offset, found.timestamp, found.key, found.value, tuple(found.headers), 0)
                for number, log in enumerate(self._topics.partitions(topic))
                for batch in log.batches()
                for found in DefaultRecordBatch(batch)
                if found.offset >= log.start
            ]
        )

    def end_offsets(self, topic: str) -> list[int]:
        """The next offset of each partition, in order."""
        return self._on_loop(lambda: [log.end for log in self._topics.partitions(topic)])

    def trim(self, topic: str, partition: int, before_offset: int) -> None:
        """Forget the records before an offset, as retention does."""
        self._on_loop(lambda: self._log(topic, partition).trim(before_offset))

    def leave_gap(self, topic: str, partition: int, offsets: int) -> None:
        """Skip offsets, as transaction markers and compaction do."""
        self._on_loop(lambda: self._log(topic, partition).skip(offsets))

    def committed(self, group: str) -> dict[tuple[str, int], Committed]:
        """What a group committed, by topic and partition number."""
        return self._on_loop(lambda: dict(self._coordinator.group(group).offsets))

    def _log(self, topic: str, partition: int) -> PartitionLog:
        log = self._topics.find(topic, partition)
        if log is None:
            raise KeyError(f"the practice broker has no {topic}[{partition}]: create the topic first")
        return log

    # ------------------------------------------------------------ the broker's own thread

    def _on_loop(self, action: Callable[[], Answer]) -> Answer:
        if self._loop is None:
            raise RuntimeError("the practice broker does not run: start it first")

        async def act() -> Answer:
            return action()

        return asyncio.run_coroutine_threadsafe(act(), self._loop).result(START_S)

    async def _run(self, ready: threading.Event) -> None:
        self._ending = asyncio.Event()
        self._connections = Connections(self._serve_table(), self._faults)
        try:
            server = await asyncio.start_server(self._connections.accept, "127.0.0.1", self._port, limit=READ_AHEAD_BYTES)
        except OSError as error:
            self._failure = error
            ready.set()
            return
        self._port = server.sockets[0].getsockname()[1]
        self._loop = asyncio.get_running_loop()
        ready.set()
        await self._ending.wait()
        server.close()
        self._coordinator.close()
        await self._connections.close()

    def _serve_table(self) -> dict[Api, Served]:
        self._topic_calls = TopicCalls(self._topics, port=lambda: self._port, auto_create=self._auto_create)
        group_calls = GroupCalls(self._coordinator, port=lambda: self._port)
        served = self._topic_calls.served() | group_calls.served()
        served[Api.API_VERSIONS] = Served(ApiVersionsRequest, (0, 3), self._api_versions)
        self._versions = {api: entry.versions for api, entry in served.items()}
        return served

    async def _api_versions(self, call: Call) -> ApiVersionsResponse:
        spoken = [
            ApiVersionsResponse.ApiVersion(api_key=api, min_version=low, max_version=high)
            for api, (low, high) in self._versions.items()
        ]
        return ApiVersionsResponse(version=call.version, error_code=call.fault, api_keys=spoken, throttle_time_ms=0)
