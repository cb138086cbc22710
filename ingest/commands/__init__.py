"""The commands, by what they are for; `ingest.cli` puts them together."""
