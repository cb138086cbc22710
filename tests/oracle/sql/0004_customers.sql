-- Unpartitioned. Fed by Debezium flattened, where a delete is nothing but a tombstone: the offset is the only order.
CREATE TABLE IF NOT EXISTS customers (
    id TEXT PRIMARY KEY,
    name TEXT,
    country VARCHAR(16),
    balance NUMERIC(30, 4),
    visits INTEGER,
    score DOUBLE PRECISION,
    active BOOLEAN,
    since TIMESTAMP WITHOUT TIME ZONE,
    note TEXT,
    cdc_version TEXT,
    cdc_deleted BOOLEAN,
    cdc_source_ts TIMESTAMP WITH TIME ZONE,
    cdc_ingested_at TIMESTAMP WITH TIME ZONE,
    cdc_topic TEXT,
    cdc_partition INTEGER,
    cdc_offset BIGINT,
    cdc_op TEXT,
    CONSTRAINT customers_visits_not_negative CHECK (visits >= 0)
) CLUSTERED INTO 2 SHARDS WITH (number_of_replicas = 0);

CREATE OR REPLACE VIEW customers_live AS SELECT * FROM customers WHERE cdc_deleted = false;
