"""Writer schemas from a Confluent Schema Registry, by id or GUID; blocks, so never called on the loop's thread."""

from ingest.registry.client import RegistryClient

__all__ = ["RegistryClient"]
