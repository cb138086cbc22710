"""Connections: frames in, calls handed to their handlers, frames out; and where faults strike.

Knows Kafka's framing and headers, not what the calls mean. Runs on the broker's loop thread.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from kafka.protocol.metadata import ApiVersionsResponse

from ingest.practice.broker.codes import Api, Code
from ingest.practice.broker.faults import Cut, Faults

log = logging.getLogger(__name__)

REQUEST_HEADER = struct.Struct(">hhi")
MAX_FRAME_BYTES = 104_857_600  # Kafka's own default of socket.request.max.bytes


class Call(NamedTuple):
    """One request. fault: the error code that a test wants in the answer, NONE otherwise."""

    request: Any
    version: int
    client_id: str
    fault: int = Code.NONE


Handler = Callable[[Call], Awaitable[Any]]


class Served(NamedTuple):
    """How one API is served: kafka-python's request class, the versions we speak, and who answers (None: no answer)."""

    request_class: Any
    versions: tuple[int, int]
    handler: Handler


class Connections:
    """All open connections of the broker."""

    def __init__(self, served: Mapping[Api, Served], faults: Faults) -> None:
        self._served = served
        self._faults = faults
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.is_refusing = False

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client until it goes, we are told to drop it, or it speaks nonsense."""
        task = asyncio.current_task()
        if self.is_refusing or task is None:
            writer.transport.abort()
            return
        self._open.add(writer)
        self._tasks.add(task)
        try:
            await self._serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the client went, or we hung up
        except Exception:
            log.exception("practice_broker_call_failed")
        finally:
            self._open.discard(writer)
            self._tasks.discard(task)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            (size_bytes,) = struct.unpack(">i", await reader.readexactly(4))
            if not REQUEST_HEADER.size <= size_bytes <= MAX_FRAME_BYTES:
                return
            frame = await reader.readexactly(size_bytes)
            answer = await self._answer(frame)
            if answer is None:
                return
            writer.write(answer)
            await writer.drain()

    async def _answer(self, frame: bytes) -> bytes | None:
        """The framed answer, b"" where the call wants none, None to cut the connection."""
        key, version, correlation_id = REQUEST_HEADER.unpack_from(frame)
        if key not in self._served:
            return None
        api = Api(key)
        request_class, (low, high), handler = self._served[api]
        if not low <= version <= high:
            return _unsupported_version(correlation_id, high) if api is Api.API_VERSIONS else None
        fault = self._faults.take(api)
        if fault is Cut.BEFORE:
            return None
        request = request_class.decode(frame, version=version, header=True)
        call = Call(request, version, request.header.client_id or "", fault if isinstance(fault, int) else Code.NONE)
        answer = await handler(call)
        return None if fault is Cut.AFTER else _framed(answer, correlation_id)

    def drop(self) -> None:
        """Cut every connection that is open now."""
        for writer in list(self._open):
            writer.transport.abort()

    async def close(self) -> None:
        """Cut every connection and wait until its task has ended."""
        self.is_refusing = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _framed(answer: Any, correlation_id: int) -> bytes:
    if answer is None:
        return b""
    answer.with_header(correlation_id=correlation_id)
    return bytes(answer.encode(framed=True, header=True))


def _unsupported_version(correlation_id: int, version: int) -> bytes:
    """The answer to a newer ApiVersions request: in version 0, with the version that we do speak."""
    known = ApiVersionsResponse.ApiVersion(api_key=Api.API_VERSIONS, min_version=0, max_version=version)
    return _framed(ApiVersionsResponse(version=0, error_code=Code.UNSUPPORTED_VERSION, api_keys=[known]), correlation_id)
