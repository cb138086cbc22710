"""The only home of the Kafka client: reading with a consumer group (`source`) and the dead-letter topic (`dead_letters`)."""
