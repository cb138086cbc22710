"""The environment as it is before it means anything: which INGEST_* names are there, and which were probably meant.

Also the table of the Kafka client's own options, which are passed through as INGEST_KAFKA_<NAME>. Pure: a mapping comes in,
values and problems go out; only `_FILE` names are read from disk. Values of secrets never enter a problem's text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

PREFIX = "INGEST_"
KAFKA_PREFIX = "INGEST_KAFKA_"
# Where the tests find servers and samples; they stand beside the settings in one shell.
NOT_SETTINGS = ("INGEST_TEST_", "INGEST_SAMPLES")
SHOWN_LENGTH = 60
SWITCH_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True, slots=True)
class Option:
    """One option of the Kafka client. parse: raises ValueError; allowed: what it takes, in words."""

    parse: Callable[[str], Any]
    allowed: str
    is_secret: bool = False


@dataclass(slots=True)
class Found:
    """What the environment holds. values: setting -> text. kafka: client option -> typed value. sources: where each came from."""

    values: dict[str, str] = field(default_factory=dict)
    kafka: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def read(environ: Mapping[str, str], known: Collection[str], secrets: Collection[str]) -> Found:
    """Sort the INGEST_* names of the environment. known, secrets: settings in lower case; an empty text counts as not set."""
    found = Found()
    for name in sorted(environ):
        if name.startswith(PREFIX) and not name.startswith(NOT_SETTINGS) and environ[name].strip():
            _read_one(name, environ[name].strip(), known, secrets, found)
    return found


def _read_one(name: str, text: str, known: Collection[str], secrets: Collection[str], found: Found) -> None:
    setting = name.removeprefix(PREFIX).lower()
    secret_of = setting.removesuffix("_file")
    if setting in known:
        found.values[setting] = text
        found.sources[setting] = "environment"
    elif setting != secret_of and secret_of in secrets:
        _read_file(name, text, secret_of, found)
    elif name.startswith(KAFKA_PREFIX):
        _read_kafka(name, text, known, found)
    else:
        found.problems.append(unknown_name(name, [PREFIX + each.upper() for each in known]))


def _read_file(name: str, path: str, setting: str, found: Found) -> None:
    if setting in found.values:
        found.problems.append(f"{name}: is set together with {PREFIX}{setting.upper()}; allowed: one of the two")
        return
    try:
        text = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is no UTF-8 text"
        found.problems.append(f"{name}={shown(path)}: cannot be read ({reason}); allowed: a file with the secret in it")
        return
    found.values[setting] = text
    found.sources[setting] = f"file {path}"


def _read_kafka(name: str, text: str, known: Collection[str], found: Found) -> None:
    key = name.removeprefix(KAFKA_PREFIX).lower()
    from_file = key.removesuffix("_file")
    if key in DECIDED_BY_US:
        found.problems.append(f"{name}: is decided by ingest itself, because its promises hang on it; remove it")
        return
    if key != from_file and from_file in KAFKA_OPTIONS and KAFKA_OPTIONS[from_file].is_secret:
        _read_kafka_file(name, text, from_file, found)
        return
    option = KAFKA_OPTIONS.get(key)
    if option is None:
        ours = [PREFIX + each.upper() for each in known]
        found.problems.append(unknown_name(name, [*(KAFKA_PREFIX + each.upper() for each in KAFKA_OPTIONS), *ours]))
        return
    try:
        found.kafka[key] = option.parse(text)
        found.sources[f"kafka_{key}"] = "environment"
    except ValueError:
        value = "" if option.is_secret else f"={shown(text)}"
        found.problems.append(f"{name}{value}: is not what the Kafka client takes; allowed: {option.allowed}")


def _read_kafka_file(name: str, path: str, key: str, found: Found) -> None:
    as_setting = Found()
    _read_file(name, path, key, as_setting)
    found.problems += as_setting.problems
    found.kafka |= as_setting.values
    found.sources |= {f"kafka_{each}": source for each, source in as_setting.sources.items()}


def unknown_name(name: str, known: Collection[str]) -> str:
    """
    >>> unknown_name("INGEST_TOPIC", ["INGEST_TOPICS", "INGEST_WRITERS"])
    'INGEST_TOPIC: there is no such setting; the nearest name is INGEST_TOPICS'
    """
    near = get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    hint = f"the nearest name is {near[0]}" if near else "`ingest settings` lists them all"
    return f"{name}: there is no such setting; {hint}"


def shown(text: str) -> str:
    """A value as it may be printed: without a password inside an address, and not too long.

    >>> shown("https://crate:hunter2@db:4200")
    'https://***@db:4200'
    """
    text = re.sub(r"//[^/@\s]*@", "//***@", text)
    return text if len(text) <= SHOWN_LENGTH else text[: SHOWN_LENGTH - 1] + "…"


# ---------------------------------------------------------------- the Kafka client's options


def _whole(low: int, high: int, unit: str) -> Option:
    def parse(text: str) -> int:
        number = int(text)
        if not low <= number <= high:
            raise ValueError
        return number

    return Option(parse, f"{low} to {high} {unit}")


def _choice(*allowed: str) -> Option:
    def parse(text: str) -> str:
        if text.upper() not in allowed:
            raise ValueError
        return text.upper()

    return Option(parse, ", ".join(allowed))


def _switch(text: str) -> bool:
    if text.lower() not in SWITCH_WORDS:
        raise ValueError
    return SWITCH_WORDS[text.lower()]


def _version(text: str) -> tuple[int, ...]:
    """
    >>> _version("3.9")
    (3, 9)
    """
    return tuple(int(part) for part in text.split("."))


_MS = _whole(0, 86_400_000, "ms")
_BYTES = _whole(1, 1 << 31, "bytes")
_TEXT = Option(str, "a text")
_FILE = Option(str, "the path of a file")
_SECRET = Option(str, "a text", is_secret=True)
_SWITCH = Option(_switch, "true or false")

# Only what a text can say: the client's other options take Python objects.
KAFKA_OPTIONS: Mapping[str, Option] = {
    "allow_auto_create_topics": _SWITCH,
    "api_version": Option(_version, "a version such as 3.9"),
    "batch_size": _whole(0, 1 << 31, "bytes"),
    "bootstrap_timeout_ms": _MS,
    "client_dns_lookup": Option(str, "use_all_dns_ips or resolve_canonical_bootstrap_servers_only"),
    "client_id": _TEXT,
    "client_rack": _TEXT,
    "compression_type": Option(str, "gzip, snappy, lz4 or zstd"),
    "connections_max_idle_ms": _MS,
    "delivery_timeout_ms": _MS,
    "exclude_internal_topics": _SWITCH,
    "fetch_max_bytes": _BYTES,
    "fetch_max_wait_ms": _MS,
    "fetch_min_bytes": _BYTES,
    "group_instance_id": _TEXT,
    "heartbeat_interval_ms": _MS,
    "linger_ms": _MS,
    "max_block_ms": _MS,
    "max_in_flight_requests_per_connection": _whole(1, 1_000, "requests"),
    "max_partition_fetch_bytes": _BYTES,
    "max_poll_interval_ms": _whole(10_000, 86_400_000, "ms"),
    "max_poll_records": _whole(1, 100_000, "records"),
    "max_request_size": _BYTES,
    "metadata_max_age_ms": _MS,
    "metric_group_prefix": _TEXT,
    "metrics_enabled": _SWITCH,
    "metrics_num_samples": _whole(1, 1_000, "samples"),
    "metrics_sample_window_ms": _MS,
    "proxy_url": Option(str, "an address"),
    "receive_buffer_bytes": _BYTES,
    "receive_message_max_bytes": _BYTES,
    "reconnect_backoff_max_ms": _MS,
    "reconnect_backoff_ms": _MS,
    "request_timeout_ms": _whole(1_000, 86_400_000, "ms"),
    "retry_backoff_ms": _MS,
    "sasl_kerberos_domain_name": _TEXT,
    "sasl_kerberos_name": _TEXT,
    "sasl_kerberos_service_name": _TEXT,
    "sasl_mechanism": _choice("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "GSSAPI", "AWS_MSK_IAM"),
    "sasl_plain_password": _SECRET,
    "sasl_plain_username": _TEXT,
    "security_protocol": _choice("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"),
    "send_buffer_bytes": _BYTES,
    "session_timeout_ms": _whole(1_000, 86_400_000, "ms"),
    "socks5_proxy": Option(str, "an address"),
    "ssl_cafile": _FILE,
    "ssl_certfile": _FILE,
    "ssl_check_hostname": _SWITCH,
    "ssl_ciphers": _TEXT,
    "ssl_crlfile": _FILE,
    "ssl_keyfile": _FILE,
    "ssl_password": _SECRET,
    "transaction_timeout_ms": _MS,
}

# The rest of what a text could say. Offsets are committed by the ledger alone, nothing is decoded inside the client, aborted
# transactions stay unseen, revocation stays incremental, a dead letter counts when all replicas have it.
DECIDED_BY_US = frozenset(
    {
        "acks",
        "auto_commit_interval_ms",
        "auto_offset_reset",
        "check_crcs",
        "consumer_timeout_ms",
        "enable_auto_commit",
        "enable_idempotence",
        "enable_incremental_fetch_sessions",
        "group_id",
        "isolation_level",
        "partition_assignment_strategy",
        "retries",
        "transactional_id",
    }
)
