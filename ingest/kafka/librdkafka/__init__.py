"""Reading with librdkafka instead of kafka-python, where INGEST_KAFKA_CLIENT says so: the only home of confluent_kafka.

`source` is the door; all else of the worker that talks to Kafka stays with kafka-python. What librdkafka reports is told in
kafka-python's errors, so that one table of sentences serves both.
"""
