"""A broker and a CrateDB node of a benchmark's own, because it breaks them. Gone at its end."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.chaos.rig import Servers
from tests.server_processes import CrateServer, KafkaServer
from tests.servers import Missing, crate_home, kafka_jars


@contextmanager
def own_servers() -> Iterator[Servers]:
    """Both, started. Exits with a sentence where this machine has not what they are made of."""
    jars, home = kafka_jars(), crate_home()
    for what in (jars, home):
        if isinstance(what, Missing):
            sys.exit(f"a server of our own is needed, to break it: {what.how}")
    assert not isinstance(jars, Missing)
    assert not isinstance(home, Missing)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # else what we started would outlive us
    kafka, crate = KafkaServer(jars), CrateServer(home)
    try:
        kafka.start()
        crate.start()
        yield Servers(kafka, [crate])
    finally:
        kafka.remove()
        crate.remove()
