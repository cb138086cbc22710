-- The month follows from the key, so a row never moves. Fed by Debezium flattened, deletes rewritten.
CREATE TABLE IF NOT EXISTS readings (
    sensor TEXT,
    ts TIMESTAMP WITH TIME ZONE,
    month TIMESTAMP WITH TIME ZONE,
    reading DOUBLE PRECISION,
    raw BIGINT,
    quality SMALLINT,
    unit VARCHAR(16),
    note TEXT,
    cdc_version TEXT,
    cdc_deleted BOOLEAN,
    cdc_source_ts TIMESTAMP WITH TIME ZONE,
    cdc_ingested_at TIMESTAMP WITH TIME ZONE,
    cdc_topic TEXT,
    cdc_partition INTEGER,
    cdc_offset BIGINT,
    cdc_op TEXT,
    CONSTRAINT readings_quality_not_negative CHECK (quality >= 0),
    PRIMARY KEY (sensor, ts, month)
) CLUSTERED BY (sensor) INTO 2 SHARDS PARTITIONED BY (month) WITH (number_of_replicas = 0);

CREATE OR REPLACE VIEW readings_live AS SELECT * FROM readings WHERE cdc_deleted = false;
