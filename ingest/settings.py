"""Every INGEST_* variable, declared once: type, default, unit, range, help; and the values that follow from them.

`Settings.load` reports all problems at once. docs/settings.md and `ingest settings` are made from the declarations. The only home
of pydantic. Immutable after loading, so any thread may read it. Names of the environment are sorted in `ingest.environ`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal, get_args, get_origin
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, FilePath, PrivateAttr, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from ingest import environ as names
from ingest.errors import Stop
from ingest.memory import MB, Memory, least_mb, memory


def _parts(value: object) -> object:
    """Split at commas, but not within the braces of a pattern such as ^a{1,2}$."""
    return tuple(part.strip() for part in re.split(r",(?![^{]*})", value) if part.strip()) if isinstance(value, str) else value


def _address(value: str) -> str:
    parts = urlsplit(value if "://" in value else f"http://{value}")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
        raise ValueError("is no address")
    return value


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


def _topic(value: str) -> str:
    try:
        if value.startswith("^"):
            re.compile(value)
        return value
    except re.error as error:
        raise ValueError(f"{value} is no regular expression") from error


def _placeholder(value: str) -> str:
    if not value or (value.startswith("hex:") and not bytes.fromhex(value[4:])):
        raise ValueError("is no placeholder")
    return value


Texts = Annotated[tuple[str, ...], BeforeValidator(_parts)]
Topics = Annotated[tuple[Annotated[str, BeforeValidator(_topic)], ...], BeforeValidator(_parts)]
Addresses = Annotated[tuple[Annotated[str, BeforeValidator(_address)], ...], BeforeValidator(_parts)]
UnavailableValue = Annotated[str, BeforeValidator(_placeholder)]
Level = Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(_upper)]


def knob(
    default: Any, text: str, *, unit: str = "", low: float | None = None, high: float | None = None, allowed: str = ""
) -> Any:
    """A setting. allowed: what it takes, in words, where neither the range nor the type says it."""
    extra: dict[str, Any] = {"unit": unit, "allowed": allowed}
    return Field(default, ge=low, le=high, description=text, json_schema_extra=extra)


class Settings(BaseSettings):
    """The settings of one worker. Groups in the order of the data path; see docs/settings.md."""

    model_config = SettingsConfigDict(env_prefix=names.PREFIX, frozen=True, extra="forbid", validate_default=False)

    # ---------------- Kafka
    kafka_bootstrap_servers: Texts = knob(("localhost:9092",), "Brokers to begin with.", allowed="host:port, comma-separated")
    kafka_client: Literal["kafka-python", "librdkafka"] = knob(
        "kafka-python",
        "What reads topics. `librdkafka` needs the extra of that name; docs/operations.md says where it differs.",
    )
    group_id: str = knob("ingest", "The consumer group. All workers that share the work have the same.")
    topics: Topics = knob(
        (), "What to read: names, or regular expressions that begin with `^`.", allowed="names and ^patterns, comma-separated"
    )
    topic_prefix: str = knob("", "Left out of the front of a topic's name when a table is looked for, such as `inventory_`.")
    start_from: Literal["earliest", "latest", "refuse"] = knob(
        "earliest", "Where to start in a topic that this group has never read; partitions added later start at their beginning."
    )
    on_gap: Literal["park", "continue"] = knob(
        "park", "When retention has passed our position: park the topic, or go on behind the gap."
    )

    # ---------------- CrateDB
    crate_urls: Addresses = knob(
        ("http://localhost:4200",), "Addresses of CrateDB nodes.", allowed="http(s)://host:port, comma-separated"
    )
    crate_user: str = knob("crate", "The user of CrateDB.")
    crate_password: SecretStr | None = knob(None, "Its password; without one CrateDB must trust the user or a certificate.")
    crate_schema: str = knob("doc", "The schema of tables that no contract names.")
    crate_ca_file: FilePath | None = knob(None, "PEM file of the authority that signed CrateDB's certificate.")
    crate_cert_file: FilePath | None = knob(None, "PEM file of our own certificate, for CrateDB's `cert` method.")
    crate_key_file: FilePath | None = knob(None, "PEM file of the key of that certificate.")
    crate_verify: bool = knob(True, "Whether CrateDB's certificate must be valid.")
    crate_timeout_s: float = knob(
        75.0,
        "How long an answer may take; CrateDB itself gives up after 60 s, and we want to hear it.",
        unit="s",
        low=61,
        high=600,
    )
    write_path: Literal["http", "pg"] = knob("http", "How rows travel; `pg`: by CrateDB's PostgreSQL interface (extra `pg`).")
    crate_pg_addresses: Texts = knob(
        (), "Where its nodes listen for that; by default port 5432 of INGEST_CRATE_URLS.", allowed="host:port, comma-separated"
    )
    migrate: bool = knob(False, "Whether `ingest run` applies the files in INGEST_SQL_DIR first.")
    sql_dir: str = knob("sql", "Folder of the numbered SQL files.")
    schemas_dir: str = knob("schemas", "Folder of the tables' contracts and of Avro schema files.")

    # ---------------- Schema registry
    schema_registry_url: Addresses = knob(
        (), "Addresses of the schema registry; none where nothing needs it.", allowed="http(s)://host:port, comma-separated"
    )
    schema_registry_ids: Literal["auto", "content", "global"] = knob(
        "auto", "What the numbers in records are, where the registry is Apicurio's and their framing does not tell."
    )
    schema_registry_user: str | None = knob(None, "The user of the registry.")
    schema_registry_password: SecretStr | None = knob(None, "Its password.")
    schema_registry_token: SecretStr | None = knob(None, "A bearer token instead of user and password.")
    schema_registry_ca_file: FilePath | None = knob(None, "PEM file of the authority that signed the registry's certificate.")
    schema_registry_cert_file: FilePath | None = knob(None, "PEM file of our own certificate for the registry.")
    schema_registry_key_file: FilePath | None = knob(None, "PEM file of the key of that certificate.")

    # ---------------- Formats
    flattened_prefix: str = knob(
        "__",
        "What Debezium puts in front of metadata where it flattens rows (`add.fields.prefix`, `add.headers.prefix`); "
        'for one topic write `format = "flattened:PREFIX"` in its contract. '
        "Fields that are renamed follow behind a blank, as in add.fields: `__ op:OPERATION,source.lsn:POS`.",
    )
    unavailable_value: UnavailableValue = knob(
        "__debezium_unavailable_value",
        "What Debezium writes in place of a large value that did not change (`unavailable.value.placeholder`).",
        allowed="a text, or hex: and octets",
    )

    # ---------------- Batches and memory
    batch_max_rows: int = knob(5_000, "A batch goes when it has so many rows.", unit="rows", low=1, high=50_000)
    batch_max_bytes: int = knob(4 * MB, "A batch goes when it is about so large.", unit="bytes", low=10_000, high=50 * MB)
    batch_linger_ms: int = knob(
        100, "Smaller batches go so long after the last ones, those of a table together.", unit="ms", low=0, high=60_000
    )
    writers: int = knob(4, "Requests in flight at most, per worker process.", unit="requests", low=1, high=64)
    workers: int = knob(1, "Worker processes that `ingest run` starts.", unit="processes", low=1, high=64)
    memory_mb: int = knob(
        512,
        "Resident memory of one worker process; fetch sizes, marks and buffers follow from it.",
        unit="MB",
        low=128,
        high=262_144,
    )

    # ---------------- Time
    revoke_s: float = knob(10.0, "How long a partition that leaves may be drained.", unit="s", low=0, high=300)
    drain_s: float = knob(
        30.0, "How long stopping may take before what is unsettled is left to the next worker.", unit="s", low=0, high=3_600
    )
    give_up_s: float = knob(
        300.0, "How long nothing may move at the start and in `--until-caught-up` runs.", unit="s", low=1, high=86_400
    )

    # ---------------- Dead letters and parking
    dlq_topic: str | None = knob(None, "The dead-letter topic; by default the group's name with `.dlq` behind it.")
    dlq_create: bool = knob(True, "Whether the dead-letter topic is created where it is missing.")
    dlq_max_ratio: float = knob(
        0.1,
        "A topic is parked when more than this part of a full window of its records was rejected.",
        unit="ratio",
        low=0,
        high=1,
    )
    dlq_window: int = knob(1_000, "Records in that window.", unit="records", low=10, high=100_000)
    stale_max_ratio: float = knob(
        0.99,
        "A topic is parked when more than this part of a full window was older than what is stored.",
        unit="ratio",
        low=0,
        high=1,
    )

    add_columns_max: int = knob(
        100,
        "Columns that a table may get from fields without one (`unknown_fields` add) before it is parked; unparking allows as "
        "many again.",
        unit="columns",
        low=0,
        high=1_000,
    )

    # ---------------- Months
    month_min: int = knob(
        -240, "Oldest month that may be written, counted from the current one.", unit="months", low=-1_200, high=0
    )
    month_max: int = knob(
        12,
        "Newest month that may be written: a wrong clock must not create a thousand partitions.",
        unit="months",
        low=0,
        high=1_200,
    )

    # ---------------- Watching
    watermarks: bool = knob(
        True, "Whether the table `ingest_watermarks` in INGEST_CRATE_SCHEMA is made and kept: how far each table is complete."
    )
    http_host: str = knob("127.0.0.1", "Where metrics, health and the status page listen.")
    http_port: int = knob(
        9464,
        "Port of `ingest run`; several worker processes are all shown there (and listen on those behind it); 0 switches it off.",
        unit="",
        low=0,
        high=65_535,
    )
    health_s: float = knob(60.0, "`/healthz` fails when the loop has not moved for so long.", unit="s", low=5, high=3_600)
    log_level: Level = knob("INFO", "What is logged; DEBUG also shows tracebacks.")
    log_format: Literal["auto", "human", "json"] = knob("auto", "How: auto is human on a terminal and JSON elsewhere.")

    _kafka_options: Mapping[str, Any] = PrivateAttr(default_factory=dict)
    _sources: Mapping[str, str] = PrivateAttr(default_factory=dict)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        *_: PydanticBaseSettingsSource,
        **__: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `load` found: it has to see every name, to tell the wrong ones."""
        return (init_settings,)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """Addresses may hold passwords."""
        for name, value in super().__repr_args__():
            yield name, tuple(map(names.shown, value)) if isinstance(value, tuple) else value

    @classmethod
    def load(cls, environ: Mapping[str, str], needs: Iterable[str] = ()) -> Settings:
        """The settings of this environment. needs: settings without which the caller can do nothing.

        Raises Stop("settings.invalid") whose text has one line per problem: name, what is wrong, what is allowed.
        """
        found = names.read(environ, cls.model_fields, secret_names())
        problems = list(found.problems)
        problems += [f"{env_name(name)}: is missing; allowed: {allowed(name)}" for name in needs if name not in found.values]
        settings = cls._build(found, problems)
        if settings is None or problems:
            raise Stop("settings.invalid", "\n".join(sorted(problems)))
        return settings

    @classmethod
    def _build(cls, found: names.Found, problems: list[str]) -> Settings | None:
        try:
            settings = cls(**found.values)  # type: ignore[arg-type]  # texts: pydantic makes them what they should be
        except ValidationError as error:
            problems += [_problem(each["loc"], found.values) for each in error.errors(include_input=False)]
            return None
        settings._kafka_options, settings._sources = found.kafka, found.sources
        problems += contradictions(settings)
        return settings

    # ---------------- what follows

    @property
    def kafka_options(self) -> Mapping[str, Any]:
        """Options that go to the Kafka client as they are, by its own names; secrets in clear text."""
        return self._kafka_options

    def source_of(self, name: str) -> str:
        """Where a value came from: "default", "environment" or "file PATH"."""
        return self._sources.get(name, "default")

    @property
    def dead_letter_topic(self) -> str:
        return self.dlq_topic or f"{self.group_id}.dlq"

    @property
    def memory(self) -> Memory:
        return memory(self.memory_mb, self.writers, self.batch_max_bytes)

    @property
    def writer_stuck_s(self) -> float:
        """A batch that is out for so long is stuck: its plan has a handful of statements with a time-out each."""
        return 5 * self.crate_timeout_s


def env_name(name: str) -> str:
    return names.PREFIX + name.upper()


def secret_names() -> frozenset[str]:
    return frozenset(name for name, info in Settings.model_fields.items() if is_secret(info))


def is_secret(info: FieldInfo) -> bool:
    return SecretStr in (info.annotation, *get_args(info.annotation))


# ---------------------------------------------------------------- problems


def allowed(name: str) -> str:
    """What a setting takes, in words.

    >>> allowed("batch_max_rows"), allowed("on_gap"), allowed("migrate")
    ('1 to 50000 rows', 'park, continue', 'true or false')
    """
    info = Settings.model_fields[name]
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    if extra["allowed"]:
        return str(extra["allowed"])
    low, high = _bound(info, "ge"), _bound(info, "le")
    if low is not None:
        return f"{low:g} to {high:.12g} {extra['unit']}".rstrip()
    if get_origin(info.annotation) is Literal:
        return ", ".join(get_args(info.annotation))
    if info.annotation is bool:
        return "true or false"
    return "the path of a file that exists" if name.endswith("_file") else "a text"


def _bound(info: FieldInfo, kind: str) -> float | None:
    return next((getattr(each, kind) for each in info.metadata if getattr(each, kind, None) is not None), None)


def _problem(location: tuple[int | str, ...], values: Mapping[str, str]) -> str:
    name = str(location[0])
    value = "" if name in secret_names() else f"={names.shown(values[name])}"
    return f"{env_name(name)}{value}: is not what it takes; allowed: {allowed(name)}"


def contradictions(settings: Settings) -> list[str]:
    """Combinations that break a promise, one line each, with the reason."""
    return [
        *_memory_contradictions(settings),
        *_kafka_contradictions(settings),
        *_tls_contradictions(settings),
        *_others(settings),
    ]


def _memory_contradictions(settings: Settings) -> Iterator[str]:
    if not settings.memory.is_enough:
        enough = least_mb(settings.memory_mb, settings.writers, settings.batch_max_bytes)
        yield (
            f"INGEST_MEMORY_MB={settings.memory_mb}: too little for INGEST_WRITERS={settings.writers} requests of "
            f"INGEST_BATCH_MAX_BYTES={settings.batch_max_bytes}; allowed: at least {enough} MB with these two"
        )


def _kafka_contradictions(settings: Settings) -> Iterator[str]:
    options, letters = settings.kafka_options, settings.dead_letter_topic
    poll_s = options.get("max_poll_interval_ms", 120_000) / 1000
    if 2 * settings.revoke_s > poll_s:
        yield (
            f"INGEST_REVOKE_S={settings.revoke_s:g}: draining and committing must end within the poll interval; "
            f"allowed: up to {poll_s / 2:g} s"
        )
    if letters in settings.topics:
        yield (
            f"INGEST_DLQ_TOPIC={letters}: is read as well, so a rejected record would come back for ever; "
            "allowed: a topic that INGEST_TOPICS does not name"
        )
    yield from _sasl_contradictions(options)


def _sasl_contradictions(options: Mapping[str, Any]) -> Iterator[str]:
    protocol = options.get("security_protocol", "PLAINTEXT")
    has_mechanism, is_sasl = "sasl_mechanism" in options, protocol.startswith("SASL")
    if has_mechanism and not is_sasl:
        yield (
            f"INGEST_KAFKA_SECURITY_PROTOCOL={protocol}: INGEST_KAFKA_SASL_MECHANISM needs SASL; "
            "allowed: SASL_PLAINTEXT, SASL_SSL"
        )
    if is_sasl and not has_mechanism:
        mechanisms = names.KAFKA_OPTIONS["sasl_mechanism"].allowed
        yield f"INGEST_KAFKA_SASL_MECHANISM: is missing, {protocol} needs it; allowed: {mechanisms}"


def _tls_contradictions(settings: Settings) -> Iterator[str]:
    for side in ("crate", "schema_registry"):
        if getattr(settings, f"{side}_key_file") and not getattr(settings, f"{side}_cert_file"):
            cert, key = env_name(f"{side}_cert_file"), env_name(f"{side}_key_file")
            yield f"{cert}: is missing, {key} belongs to it; allowed: {allowed(f'{side}_cert_file')}"


def _others(settings: Settings) -> Iterator[str]:
    port, workers = settings.http_port, settings.workers
    if port and workers > 1 and port + workers > 65_535:
        yield f"INGEST_HTTP_PORT={port}: {workers} workers need the ports behind it, one each; allowed: up to {65_535 - workers}"
    if settings.schema_registry_token and settings.schema_registry_password:
        yield ("INGEST_SCHEMA_REGISTRY_TOKEN: is set together with INGEST_SCHEMA_REGISTRY_PASSWORD; allowed: one of the two")
