"""The few places where kafka-python 3.0 is reached behind its public face, each with its reason; `waiting` has three more, and
nothing else has any.

Checked against the installed version at start, see `check_client`. Thread: said per function.
"""

from __future__ import annotations

import gc
import logging
import socket
import ssl
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cache, partial
from typing import Any

import kafka
from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import Fetcher
from kafka.net.compat import KafkaNetClient
from kafka.net.inet import KafkaNetSocket
from kafka.net.transport import KafkaSSLTransport, KafkaTCPTransport
from kafka.protocol.consumer import IsolationLevel

from ingest import tls
from ingest.errors import Stop
from ingest.kafka import waiting
from ingest.kafka.fast_decode import BatchHead, agrees_with_client, check_crc, is_abort_marker, read_head, records_of
from ingest.kafka.options import SIDE
from ingest.model import Record

log = logging.getLogger(__name__)

TESTED = "3.0."
RECEIVE_BYTES = 1 << 20
CONNECT_S = 3.0
CONNECT = KafkaNetSocket.sock_connect
WRITE = KafkaTCPTransport._write_to_sock  # noqa: SLF001
# One or two minutes' worth; a full collection takes some 10 ms.
FAILURES_SWEPT = 20
TLS = ("SSL", "SASL_SSL")


class UnreadableBatch(Exception):
    """A batch that cannot be unpacked: where it is. The cause is chained."""

    def __init__(self, topic: str, partition: int, offset: int) -> None:
        super().__init__(topic, partition, offset)
        self.topic, self.partition, self.offset = topic, partition, offset


def check_client() -> None:
    """Raises Stop when the installed client is not one whose inside is known here."""
    if not kafka.__version__.startswith(TESTED):
        raise Stop("kafka.client_version", f"kafka-python {kafka.__version__} is installed: install kafka-python>=3.0.12,<3.1")


def construct(face: Callable[..., Any], options: Mapping[str, Any]) -> Any:
    """A consumer, producer or admin client. One whose constructor fails would leave its thread and sockets behind. Any thread."""
    KafkaTCPTransport._sock_recv = KafkaSSLTransport._sock_recv = _receive  # noqa: SLF001
    close_what_fails()
    made: list[WatchfulClient] = []

    def client(**configs: Any) -> WatchfulClient:
        made.append(WatchfulClient(**configs))
        return made[0]

    if "proxy_url" not in options:
        see_a_listener(options["bootstrap_servers"])
    try:
        return face(**options, kafka_client=client)
    except BaseException as error:
        refusals = [refusal for each in made for refusal in each.refusals]
        for each in made:
            each.close()
        if refusals:
            raise refusals[0] from error  # the client itself says only that it could not bootstrap in time
        if isinstance(error, kafka.errors.KafkaTimeoutError) and options.get("security_protocol", "PLAINTEXT") not in TLS:
            see_no_tls(options["bootstrap_servers"])
        raise


class WatchfulClient(KafkaNetClient):  # type: ignore[misc]
    """The client's connections, with a memory for refused logins and certificates, which it only logs before it connects again,
    for ever. failures: attempts to connect that failed; swept: so many of them when `sweep` last cleaned up.
    """

    def __init__(self, **configs: Any) -> None:
        super().__init__(**configs)
        self.refusals: list[Exception] = []
        self.failures = self.swept = 0
        self._connect = self._manager.get_connection
        self._manager.get_connection = self._get_connection

    def _get_connection(self, *args: Any, **options: Any) -> Any:
        if self.refusals and not self._manager.bootstrapped:
            raise self.refusals[0]  # or a client that is only being made would try again until its time is over
        connection = self._connect(*args, **options)
        if not connection.init_future.is_done:
            connection.init_future.add_errback(partial(self._note, connection.node_id))
        return connection

    def _note(self, node_id: Any, error: Exception) -> None:
        self.failures += 1
        node = self.cluster.broker_metadata(node_id)
        where = f"{node.host}:{node.port}" if node is not None else "the broker"
        if stop := tls.stop_for(error, SIDE, where):
            self.refusals.append(stop)
        elif isinstance(error, kafka.errors.SaslAuthenticationFailedError | kafka.errors.UnsupportedSaslMechanismError):
            self.refusals.append(error)


def close_what_fails() -> None:
    """From now on no client of this process leaves a socket open that could not be connected, or that still had something to send
    when the client was closed (seen with 3.0.12).
    """
    KafkaNetSocket.sock_connect = _connect_or_close
    KafkaTCPTransport._write_to_sock = _write_or_close  # noqa: SLF001


async def _connect_or_close(*args: Any, **options: Any) -> Any:
    """In place of the client's own."""
    try:
        return await CONNECT(*args, **options)
    except BaseException:
        next(each for each in args if isinstance(each, socket.socket)).close()
        raise


async def _write_or_close(transport: Any) -> None:
    """In place of the client's own, which a client that is closed just ends: nobody is left to close the socket."""
    try:
        await WRITE(transport)
    except BaseException:
        if transport._sock is not None:  # noqa: SLF001
            transport._sock.close()  # noqa: SLF001
        raise


def see_a_listener(bootstrap_servers: Sequence[str]) -> None:
    """Raises KafkaConnectionError when nobody listens at any of these: the client would try for long and leave sockets open."""
    for place in places_of(bootstrap_servers):
        try:
            socket.create_connection(place, CONNECT_S).close()
        except OSError:
            continue
        return
    raise kafka.errors.KafkaConnectionError(f"nobody listens at {', '.join(bootstrap_servers)}")


def see_no_tls(bootstrap_servers: Sequence[str]) -> None:
    """Raises Stop when one of these wants TLS: it hangs up on plain text, and the client says only that it waited in vain."""
    for host, port in places_of(bootstrap_servers):
        if tls.speaks_tls(host, port, CONNECT_S):
            raise Stop(SIDE.code, f"{host}:{port} speaks TLS: {SIDE.go_tls}")


def places_of(bootstrap_servers: Sequence[str]) -> Iterator[tuple[str, int]]:
    """
    >>> list(places_of(["SSL://[::1]:9093", "db:9092"]))
    [('::1', 9093), ('db', 9092)]
    """
    for server in bootstrap_servers:
        host, _, port = server.rpartition("://")[2].rpartition(":")
        yield host.strip("[]"), int(port)


def tune(consumer: KafkaConsumer) -> None:
    """Everything that a consumer needs before it subscribes. Loop's thread."""
    # The option of this name is accepted by the consumer and then lost, so that a misspelt topic would be created.
    consumer._client.cluster.config["allow_auto_create_topics"] = False  # noqa: SLF001
    consumer._fetcher.PartitionRecords = decoder()  # noqa: SLF001
    waiting.ask_no_more_than_needed(consumer)
    waiting.wait_while_a_heartbeat_is_late(consumer)


def forbid_creation(producer: Any) -> None:
    """Sending to a missing topic must not create it with the broker's defaults. Any thread."""
    producer._metadata.config["allow_auto_create_topics"] = False  # noqa: SLF001


async def loop_sleep(consumer: KafkaConsumer, seconds: float) -> None:
    """Wait in a rebalance listener; asyncio's sleep knows nothing of the client's own loop. Client's thread."""
    await consumer._net.sleep(seconds)  # noqa: SLF001


def committed(consumer: KafkaConsumer, partitions: Collection[TopicPartition], timeout_ms: int) -> Mapping[TopicPartition, Any]:
    """Offset, metadata and epoch of each partition that has a commit, in one request; publicly it is one request each.
    Blocks; raises the client's errors. Loop's thread.
    """
    found: Mapping[TopicPartition, Any] = consumer._coordinator.fetch_committed_offsets(list(partitions), timeout_ms)  # noqa: SLF001
    return found


def position(consumer: KafkaConsumer, partition: TopicPartition) -> int | None:
    """The next offset to be returned; the public call may go to the network. Loop's thread."""
    state = consumer._subscription.assignment.get(partition)  # noqa: SLF001
    return state.position.offset if state is not None and state.position is not None else None


def keep_joining(consumer: KafkaConsumer) -> bool:
    """Whether the member is in the middle of joining; then it goes on with that. Loop's thread, before each poll.

    A leader that joins again because partitions were added, in a poll that ends before the join does, forgets why it joined: it
    never finishes, sends no heartbeat and reads nothing ever after, without an error (seen with 3.0.12 on a busy machine).
    """
    coordinator = consumer._coordinator  # noqa: SLF001
    if coordinator.rejoining:
        coordinator.request_rejoin()
    return bool(coordinator.rejoining)


def prefetch(consumer: KafkaConsumer) -> None:
    """Ask for the next records now: a poll that had to wait leaves that to the next poll, and our work would not overlap.
    Loop's thread.
    """
    consumer._fetcher.send_fetches()  # noqa: SLF001


def unblock(consumer: KafkaConsumer) -> None:
    """Free the place into which the client puts back what it kept of a paused partition. Loop's thread, before each poll.

    The client puts it back only while that place is None, but a piece that is read to its end stays there: a partition that was
    paused in the middle of a fetch is never read again once the others have nothing new (seen with 3.0.12).
    """
    fetcher = consumer._fetcher  # noqa: SLF001
    if fetcher._paused_partition_records and not fetcher._next_partition_records:  # noqa: SLF001
        fetcher._next_partition_records = None  # noqa: SLF001


def sweep(consumer: KafkaConsumer) -> None:
    """Free what failed connections left: some KB each, in a cycle of exceptions and frames. A collector that is told to look
    seldom would not find them for hours (seen with 3.0.12: 12 a minute while the broker was away). Loop's thread.
    """
    client = consumer._client  # noqa: SLF001
    if client.failures - client.swept >= FAILURES_SWEPT:
        client.swept = client.failures
        gc.collect()


def refused_login(consumer: KafkaConsumer) -> str | None:
    """Why a broker refused our credentials, None if none did. Any thread."""
    found = refusal(consumer)
    return type(found).__name__ if found else None


def refusal(consumer: KafkaConsumer) -> Exception | None:
    """Why a broker refused our credentials, or one of the two sides the other's certificate; None if none did. Any thread."""
    refusals: list[Exception] = consumer._client.refusals  # noqa: SLF001
    return refusals[0] if refusals else None


# ---------------------------------------------------------------- receiving


def _receive(transport: Any) -> tuple[bytes, BaseException | None]:
    """Read what the socket holds in large pieces; the client's own 4 KB pieces cost 1.6 us a record of 1 KB, and it logs a whole
    traceback where a broker refuses our certificate. Client's thread.
    """
    parts: list[bytes] = []
    error: BaseException | None = None
    sock = transport._sock  # noqa: SLF001
    if sock is None:  # closed while it waited to be read
        return b"", kafka.errors.KafkaConnectionError("socket closed")
    while True:
        try:
            part = sock.recv(RECEIVE_BYTES)
        except (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            break
        except OSError as cause:
            error = kafka.errors.KafkaConnectionError(cause)
            break
        if not part:
            # The last words before a broker hangs up say why, such as a refused password: they are read before the end is told.
            error = None if parts else kafka.errors.KafkaConnectionError("socket disconnected")
            break
        parts.append(part)
    return b"".join(parts), error


# ---------------------------------------------------------------- decoding


@cache
def decoder() -> Callable[..., Any]:
    """The class that unpacks fetched bytes: ours, or the client's own in a guard if they disagree on a sample. Once a process."""
    if agrees_with_client():
        return FastRecords
    log.warning("decoder_fallback", extra={"reason": f"the fast decoder disagrees with kafka-python {kafka.__version__}"})
    return GuardedRecords


class GuardedRecords(Fetcher.PartitionRecords):  # type: ignore[misc]
    """The client's own unpacking. Left alone, it spins for ever at the poll after an error; here an error ends the piece."""

    def _unpack_records(self, tp: TopicPartition, records: Any, *deserializers: Any) -> Iterator[Record]:
        try:
            for record in super()._unpack_records(tp, records, *deserializers):
                yield as_record(record)
        except Exception as error:
            self.drain()
            raise UnreadableBatch(tp.topic, tp.partition, self.next_fetch_offset) from error


def as_record(record: Any) -> Record:
    """The client's record as ours."""
    at = record.topic, record.partition, record.offset
    return Record(*at, record.timestamp, record.key, record.value, record.headers, record.leader_epoch)


class FastRecords(Fetcher.PartitionRecords):  # type: ignore[misc]
    """What one fetch brought of one partition, decoded batch by batch in lists instead of record by record in generators."""

    def _unpack_records(self, _tp: TopicPartition, records: Any, *_: Any) -> Iterator[Record]:
        """Called by the constructor. The iterator that it wants is only ever asked whether it is there."""
        self._data = bytes(records._buffer)  # noqa: SLF001
        self._at = self._index = 0
        self._ready: list[Record] = []
        self._head: BatchHead | None = None
        self._failure: UnreadableBatch | None = None
        return iter(())

    def take(self, n: int | None = None) -> list[Record]:
        """Up to n records. What fails behind good ones is raised by the next call."""
        taken: list[Record] = []
        limit = n if n is not None else 1 << 62
        while len(taken) < limit and (self._index < len(self._ready) or self._load(bool(taken))):
            part = self._ready[self._index : self._index + limit - len(taken)]
            self._index += len(part)
            taken += part
            self.next_fetch_offset = part[-1].offset + 1
        self.records_read += len(taken)
        return taken

    def _load(self, has_taken: bool) -> bool:
        """Decode the next batch that holds records for us; False when there is none, or when it must fail at the next call."""
        if self._failure is not None:
            self.drain()
            raise self._failure
        try:
            return self._decode_next()
        except Exception as error:
            topic, partition = self.topic_partition
            self._failure = UnreadableBatch(topic, partition, self.next_fetch_offset)
            self._failure.__cause__ = error
        if has_taken:
            return False
        self.drain()
        raise self._failure

    def _decode_next(self) -> bool:
        if self._head is not None:
            # A batch keeps its last offset when compaction has taken its last record; without this it would be fetched again.
            self.next_fetch_offset = max(self.next_fetch_offset, self._head.next_offset)
        while (head := read_head(self._data, self._at)) is not None:
            if head.magic != 2:
                return self._decode_old()
            self._at, self._head = head.end, head
            if self.check_crcs:
                check_crc(self._data, head)
            self.leader_epoch = head.leader_epoch
            self.bytes_read += head.end - head.start
            if not self._is_hidden(head) and self._decode(head):
                return True
            self.next_fetch_offset = max(self.next_fetch_offset, head.next_offset)
        self.drain()
        return False

    def _decode(self, head: BatchHead) -> bool:
        topic, partition = self.topic_partition
        records = records_of(topic, partition, self._data, head)
        if head.base_offset < self.fetch_offset:
            # A fetch that begins inside a batch is answered with the whole batch.
            records = [record for record in records if record.offset >= self.fetch_offset]
        self._ready, self._index = records, 0
        return bool(records)

    def _is_hidden(self, head: BatchHead) -> bool:
        """Whether the batch is a transaction's marker or belongs to one that was aborted."""
        if self.isolation_level == IsolationLevel.READ_COMMITTED and head.producer_id >= 0:
            self._consume_aborted_transactions_up_to(head.base_offset + head.last_offset_delta)
            if head.is_control:
                if is_abort_marker(self._data, head):
                    self.aborted_producer_ids.discard(head.producer_id)
            elif head.is_transactional and head.producer_id in self.aborted_producer_ids:
                return True
        return head.is_control

    def _decode_old(self) -> bool:
        """Format 0 or 1, which brokers before 4.0 may still have: the client unpacks the rest of the piece."""
        rest = kafka.record.MemoryRecords(self._data[self._at :])
        self._at, self._head = len(self._data), None
        found = super()._unpack_records(self.topic_partition, rest, None, None)
        self._ready, self._index = [as_record(record) for record in found if record.offset >= self.fetch_offset], 0
        self.record_iterator = iter(())  # the client's loop has drained us, but nobody has taken these yet
        return bool(self._ready)
