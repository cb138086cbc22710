"""From settings to what the rooms take: their own settings objects and clients, built by hand, nothing cached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import getpid
from socket import gethostname
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

from ingest.crate.http import CONNECT_S, HttpClient, Tls, parse_addresses
from ingest.crate.writer import HttpStore
from ingest.errors import Stop
from ingest.flow.lanes import BatchRules
from ingest.flow.state import Rules
from ingest.kafka.options import DeadLetterSettings, KafkaSettings
from ingest.registry.client import RegistryClient
from ingest.settings import Settings
from ingest.tables.months import MappingRules

if TYPE_CHECKING:  # psycopg is an extra
    from ingest.crate.pg_pipeline import PgPipeline
    from ingest.crate.pg_session import PgAddress


class Secret(Protocol):
    """pydantic's SecretStr, which has its home in settings."""

    def get_secret_value(self) -> str: ...


class Client(TypedDict):
    """What all clients of the brokers share; see kafka.options.ClientSettings."""

    bootstrap_servers: tuple[str, ...]
    group_id: str
    client_options: Mapping[str, Any]


def client(settings: Settings) -> Client:
    return Client(
        bootstrap_servers=settings.kafka_bootstrap_servers, group_id=settings.group_id, client_options=settings.kafka_options
    )


def kafka_settings(settings: Settings) -> KafkaSettings:
    memory = settings.memory
    return KafkaSettings(
        **client(settings),
        topics=settings.topics,
        start_from=settings.start_from,
        on_gap=settings.on_gap,
        dlq_topic=settings.dead_letter_topic,
        max_partition_fetch_bytes=memory.max_partition_fetch_bytes,
        fetch_max_bytes=memory.fetch_max_bytes,
    )


def dead_letter_settings(settings: Settings) -> DeadLetterSettings:
    backlog = settings.memory.dead_letter_bytes
    return DeadLetterSettings(
        **client(settings),
        topic=settings.dead_letter_topic,
        task_id=worker_name(settings),
        may_create=settings.dlq_create,
        backlog_max_bytes=backlog,
        in_flight_bytes=min(8 << 20, backlog),
    )


def worker_name(settings: Settings) -> str:
    """Which process of the group this is: its static member's name where it has one, else host and process number."""
    return str(settings.kafka_options.get("group_instance_id") or f"{gethostname()}-{getpid()}")


def mapping_rules(settings: Settings) -> MappingRules:
    return MappingRules(month_min_months=settings.month_min, month_max_months=settings.month_max)


def rules(settings: Settings) -> Rules:
    """The loop's rules. A table has as many lanes as there are writers: more would only wait for each other."""
    return Rules(
        group_id=settings.group_id,
        batch=BatchRules(settings.batch_max_rows, settings.batch_max_bytes, settings.batch_linger_ms / 1000),
        writers=settings.writers,
        slots=settings.writers,
        high_bytes=settings.memory.high_bytes,
        low_bytes=settings.memory.low_bytes,
        revoke_s=settings.revoke_s,
        drain_s=settings.drain_s,
        give_up_s=settings.give_up_s,
        dlq_max_ratio=settings.dlq_max_ratio,
        dlq_window=settings.dlq_window,
        stale_max_ratio=settings.stale_max_ratio,
        add_columns_max=settings.add_columns_max,
    )


def crate_client(settings: Settings) -> HttpClient:
    """A client for one thread. Raises Stop("store.address" or "store.tls")."""
    return HttpClient(
        parse_addresses(settings.crate_urls),
        user=settings.crate_user,
        password=password_of(settings),
        tls=tls_of(settings),
        read_s=settings.crate_timeout_s,
    )


def store(settings: Settings) -> HttpStore:
    """A store for one thread, by the write path that the settings choose. Raises Stop as crate_client and pg_addresses do."""
    if settings.write_path == "http":
        return HttpStore(crate_client(settings))
    addresses = pg_addresses(settings)
    from ingest.crate.pg_store import PgStore

    return PgStore(crate_client(settings), pg_pipeline(settings, addresses))


def pg_addresses(settings: Settings) -> Sequence[PgAddress]:
    """Raises Stop("settings.pg_missing") where psycopg is not installed, Stop("store.address")."""
    try:
        from ingest.crate import pg_pipeline
    except ImportError as error:
        text = f"INGEST_WRITE_PATH=pg needs psycopg ({error}): pip install 'cratedb-ingest[pg]'"
        raise Stop("settings.pg_missing", text) from error
    urls = parse_addresses(settings.crate_urls)
    return pg_pipeline.pg_addresses(urls, settings.crate_pg_addresses, user=settings.crate_user, password=password_of(settings))


def pg_pipeline(
    settings: Settings, addresses: Sequence[PgAddress], *, connect_s: float = CONNECT_S, read_s: float | None = None
) -> PgPipeline:
    """Rows' own way to these addresses, for one thread."""
    from ingest.crate.pg_pipeline import PgPipeline

    return PgPipeline(addresses, tls=tls_of(settings), connect_s=connect_s, read_s=read_s or settings.crate_timeout_s)


def password_of(settings: Settings) -> str | None:
    return _revealed(settings.crate_password)


def tls_of(settings: Settings) -> Tls:
    ca, cert, key = map(_path, (settings.crate_ca_file, settings.crate_cert_file, settings.crate_key_file))
    return Tls(ca, cert, key, settings.crate_verify)


def registry_client(settings: Settings, lag_s: float = 0) -> RegistryClient | None:
    """None where no registry is set. lag_s: for so long an id that it does not know is asked for again."""
    if not settings.schema_registry_url:
        return None
    return RegistryClient(
        settings.schema_registry_url,
        username=settings.schema_registry_user,
        password=_revealed(settings.schema_registry_password),
        token=_revealed(settings.schema_registry_token),
        ca_file=_path(settings.schema_registry_ca_file),
        cert_file=_path(settings.schema_registry_cert_file),
        key_file=_path(settings.schema_registry_key_file),
        ids=settings.schema_registry_ids,
        lag_s=lag_s,
    )


def _revealed(secret: Secret | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


def _path(path: object) -> str | None:
    return None if path is None else str(path)
