"""An embedded Kafka broker for a first try without servers, and for tests. Never a default of `ingest run`.

Built on kafka-python's own protocol classes; real clients talk to it over real sockets. Its cluster id is `ingest-practice`.
Start reading at `broker`; the data path is wire -> topic_calls -> log, the group path wire -> group_calls -> groups.
"""

from ingest.practice.broker.broker import Broker
from ingest.practice.broker.codes import Api, Code

__all__ = ["Api", "Broker", "Code"]
