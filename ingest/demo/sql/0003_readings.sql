-- Sensor readings have no key of their own: their place in Kafka is their key, so a reading that is read twice is still one row.

CREATE TABLE IF NOT EXISTS demo.readings (
    cdc_topic TEXT,
    cdc_partition INTEGER,
    cdc_offset BIGINT,
    sensor TEXT,
    celsius DOUBLE PRECISION,
    battery INTEGER,
    at TIMESTAMP WITH TIME ZONE,
    month TIMESTAMP WITH TIME ZONE,
    cdc_ingested_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (cdc_topic, cdc_partition, cdc_offset, month)
) CLUSTERED INTO 2 SHARDS PARTITIONED BY (month) WITH (number_of_replicas = 0);
