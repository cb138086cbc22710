"""`ingest` writes Kafka change-data-capture and event topics into CrateDB. Start reading at `ingest/flow/loop.py`."""
