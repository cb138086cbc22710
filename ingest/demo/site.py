"""Where the demo plays: addresses, names of topics, schema and group, and the settings that its workers get. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ingest.demo.truth import TABLES, Topics
from ingest.settings import Settings

SCHEMA = GROUP = "demo"
LETTERS = f"{GROUP}.dlq"
# On servers that others use, names that say whose they are.
PREFIX_ON_REAL_SERVERS = "demo_"
# What of the caller's environment says who we are on real servers, beside the addresses.
CREDENTIALS = ("INGEST_KAFKA_SASL_", "INGEST_KAFKA_SSL_", "INGEST_KAFKA_SECURITY_", "INGEST_CRATE_USER", "INGEST_CRATE_PASSWORD")
CREDENTIAL_FILES = ("INGEST_CRATE_CA_FILE", "INGEST_CRATE_CERT_FILE", "INGEST_CRATE_KEY_FILE", "INGEST_CRATE_VERIFY")
# Kafka notices a killed worker after so long. The default of 45 s is too long to watch; brokers allow no less than 6 s.
SESSION_MS = 6_000
# Members hear of a rebalance with the answer to a heartbeat, so the demo's beat faster than the usual 3 s.
HEARTBEAT_MS = 500
VIEWS = (f"{SCHEMA}.products_live", f"{SCHEMA}.inventory_live", f"{SCHEMA}.orders_live")
# The order in which they are dropped: views first.
RELATIONS = {
    **dict.fromkeys(VIEWS, "VIEW"),
    **dict.fromkeys((*TABLES, f"{SCHEMA}.ingest_migrations", f"{SCHEMA}.ingest_migration_lock"), "TABLE"),
}


@dataclass(frozen=True)
class Site:
    """kafka: HOST:PORT. crate: a URL. is_ours: the servers are the demo's own. folder: of sql/, schemas/ and the workers' logs.

    environ: of the caller, for the credentials of real servers.
    """

    kafka: str
    crate: str
    is_ours: bool
    folder: Path
    environ: Mapping[str, str]

    @cached_property
    def topics(self) -> Topics:
        return Topics.named(self.prefix)

    @property
    def prefix(self) -> str:
        return "" if self.is_ours else PREFIX_ON_REAL_SERVERS

    def said(self) -> dict[str, str]:
        """What a worker of the demo is told, by the names of its settings."""
        return {
            "INGEST_KAFKA_BOOTSTRAP_SERVERS": self.kafka,
            "INGEST_CRATE_URLS": self.crate,
            "INGEST_GROUP_ID": GROUP,
            "INGEST_TOPICS": ",".join(self.topics),
            "INGEST_TOPIC_PREFIX": f"{self.prefix}inventory_",
            "INGEST_CRATE_SCHEMA": SCHEMA,
            "INGEST_SQL_DIR": str(self.folder / "sql"),
            "INGEST_SCHEMAS_DIR": str(self.folder / "schemas"),
            "INGEST_KAFKA_SESSION_TIMEOUT_MS": str(SESSION_MS),
            "INGEST_KAFKA_HEARTBEAT_INTERVAL_MS": str(HEARTBEAT_MS),
        }

    def environment(self, **more: str) -> dict[str, str]:
        """The environment of a worker: the caller's, of its INGEST_* names the credentials only; then `said` and `more`."""
        kept = {name: text for name, text in self.environ.items() if not name.startswith("INGEST_") or self._may_keep(name)}
        return {**kept, **self.said(), **more}

    @cached_property
    def settings(self) -> Settings:
        """The same for the demo's own clients."""
        return Settings.load(self.environment())

    def _may_keep(self, name: str) -> bool:
        return not self.is_ours and name.startswith((*CREDENTIALS, *CREDENTIAL_FILES))
