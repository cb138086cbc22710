"""A Kafka broker and a CrateDB-like store inside the process: for a first try without servers, and for tests.

They say so wherever they show, and are never a default of `ingest run`.
"""
