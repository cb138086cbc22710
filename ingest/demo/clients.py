"""The demo's own connections to Kafka and CrateDB, made as the worker makes its own, with the same credentials."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer

from ingest.crate.http import HttpClient
from ingest.demo.site import Site
from ingest.errors import IngestError, Retry
from ingest.kafka import client_seams
from ingest.kafka.client_errors import translate
from ingest.kafka.options import admin_options, consumer_options, producer_options
from ingest.tools import connect

# Records of a demo come in small numbers; the larger batches save the embedded broker work.
PRODUCER = {"linger_ms": 20, "batch_size": 65_536}


@contextmanager
def kafka_errors(doing: str) -> Iterator[None]:
    """One sentence instead of what the client raises. doing: what was tried, in words."""
    try:
        yield
    except (IngestError, KeyboardInterrupt):
        raise
    except Exception as error:
        raise translate(error, doing) from error


def producer(site: Site) -> Any:
    options = producer_options(connect.dead_letter_settings(site.settings)) | PRODUCER | {"client_id": "ingest-demo"}
    return connected(site, KafkaProducer, options)


def consumer(site: Site) -> Any:
    """Of no group: for looking."""
    options = consumer_options(connect.kafka_settings(site.settings)) | {"group_id": None, "client_id": "ingest-demo"}
    return connected(site, KafkaConsumer, options)


def admin(site: Site) -> Any:
    return connected(site, KafkaAdminClient, admin_options(connect.dead_letter_settings(site.settings)))


def connected(site: Site, face: Any, options: Mapping[str, Any]) -> Any:
    """A client that has found the broker. Raises Retry with the address when nobody answers there."""
    try:
        with kafka_errors("connecting"):
            return client_seams.construct(face, options)
    except Retry as error:
        raise Retry(error.code, f"no Kafka broker answers at {site.kafka}: is it running, is the address right?") from error


@contextmanager
def administering(site: Site, doing: str) -> Iterator[Any]:
    """An admin client for a moment. doing: what is tried, in words."""
    made = admin(site)
    try:
        with kafka_errors(doing):
            yield made
    finally:
        made.close()


@contextmanager
def crate(site: Site) -> Iterator[HttpClient]:
    client = connect.crate_client(site.settings)
    try:
        yield client
    finally:
        client.close()
