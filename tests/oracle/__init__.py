"""The judge of the worker: a seeded stream of source changes, and a model of what it must leave behind.

Nothing here imports `ingest`: the two derive the same answer by different roads, or one of them is wrong.
"""
