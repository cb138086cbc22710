"""The rows of the fault matrix that break the way to the schema registry.

One topic of three comes as producers with a JSON Schema serializer write it: framed, the schema changed with every some records,
so that the worker has to ask again and again. The registry knows all of them from the start; the row is in its proxy.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest

from tests.chaos import judge, proxy
from tests.chaos.conftest import Play
from tests.chaos.proxy import Answer, Exchange, Proxy, Rule
from tests.chaos.rig import Rig, Servers
from tests.chaos.scenario import Scenario, parameters, rows_of
from tests.integration.test_registry_kinds import Registry
from tests.oracle.log import Message

pytestmark = [pytest.mark.chaos, pytest.mark.kafka, pytest.mark.cratedb, pytest.mark.slow]

ROWS, row = rows_of("registry")
SCHEMA_LASTS, SCHEMAS = 50, 1_000  # records of a partition with the same schema
FRAMED = "invoices"
# A few records a second until the fault, the rest behind it: on however slow a machine there are schemas that nobody has seen.
SLOWLY = 100.0


def framed(rig: Rig) -> dict[str, str]:
    """The topic's values behind the id of a schema."""
    assert rig.servers.registry is not None
    topic, seen = rig.topic(FRAMED), Counter[int]()

    def write(message: Message) -> Message:
        if message.topic != topic or message.value is None:
            return message
        seen[message.partition] += 1
        schema = 1 + message.partition + 10 * (seen[message.partition] // SCHEMA_LASTS)
        return message._replace(value=b"\0" + schema.to_bytes(4, "big") + message.value)

    rig.load.written_by(write)
    return {"INGEST_SCHEMA_REGISTRY_URL": rig.servers.registry.url}


def way(rig: Rig) -> Proxy:
    assert rig.servers.registry is not None
    return rig.servers.registry


def until_missed(rig: Rig, code: str) -> None:
    """Records wait for a schema, the worker says so, and the other topics go on beside them."""
    rig.until(lambda: rig.logged(code), 90, f"a schema is missed ({code})")
    rig.until(lambda: waits(rig), 60, "/readyz says what is waited for")
    before = others(rig)
    rig.until(lambda: others(rig) > before, 60, "the other topics go on")
    judge.check_commits(rig)
    rig.seen["said"] = waits(rig)


def waits(rig: Rig) -> list[str]:
    return [each for each in rig.worker.readiness().get("reasons", ()) if "schema" in each]


def others(rig: Rig) -> int:
    """Records committed of topics that need no schema."""
    return sum(offset for (topic, _), offset in rig.committed().items() if topic != rig.topic(FRAMED))


@row(prepare=framed, rate=SLOWLY, records=4_500, is_short=True)
def registry_down(rig: Rig) -> None:
    """The registry refuses connections until 5 s after a schema is missed: its records wait, other topics go on."""
    way(rig).refuse()
    until_missed(rig, "registry.unreachable")
    time.sleep(5)
    way(rig).listen()


@row(prepare=framed, rate=SLOWLY)
def registry_hangs(rig: Rig) -> None:
    """The registry takes requests and does not answer within the 10 s that one is waited for, until 5 s after the first."""
    under(rig, proxy.delayed(11, 12, rig.rnd), lambda: until_missed(rig, "registry.unreachable"))


@row(prepare=framed, rate=SLOWLY)
def registry_slow(rig: Rig) -> None:
    """For 40 s, the registry answers 2 to 8 s late: records wait for their schemas, none is refused."""
    under(rig, proxy.delayed(2, 8, rig.rnd), lambda: time.sleep(35))


WRONG = (
    Answer(500, b'{"error_code":50001,"message":"Error in the backend data store"}'),
    Answer(503, b""),
    Answer(429, b""),
    Answer(404, b"<html>Not Found</html>", (("Content-Type", "text/html"),)),
    Answer(200, b"<html>Sign in</html>", (("Content-Type", "text/html"),)),
    Answer(200, b""),
    Answer(200, b"[]"),
    Answer(200, b"{}"),
    Answer(302, b"", (("Location", "http://127.0.0.1:9/"),)),
)


@row(prepare=framed, rate=SLOWLY)
def registry_wrong(rig: Rig) -> None:
    """The registry's address answers what no registry does, or half of it, until 5 s after a schema is missed."""

    def rule(exchange: Exchange) -> None:
        wrong = rig.rnd.choice([*WRONG, None])
        return proxy.cut_in_answer(exchange) if wrong is None else exchange.answer(wrong)

    under(rig, rule, lambda: until_missed(rig, "schema_retry"))


def under(rig: Rig, rule: Rule, wait: Callable[[], None]) -> None:
    """The rule is in force for as long as that takes, and 5 s more."""
    way(rig).rule = rule
    try:
        wait()
        time.sleep(5)
    finally:
        way(rig).rule = proxy.passing


@pytest.fixture(scope="module")
def with_registry(servers: Servers) -> Iterator[Servers]:
    with Registry() as registry:
        known = {"schema": '{"type":"object"}', "schemaType": "JSON"}
        registry.answers |= {f"/schemas/ids/{number}": known for number in range(1, SCHEMAS)}
        target = urlsplit(registry.url)
        made = Proxy(target.hostname or "", target.port or 0)
        yield Servers(servers.kafka, servers.crates, made)
        made.close()


@pytest.mark.parametrize("scenario", parameters(ROWS))
def test_row(scenario: Scenario, play: Play, with_registry: Servers) -> None:
    play(scenario, with_registry)
