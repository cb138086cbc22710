-- Rows move between months: created_at may change. Fed by a CockroachDB changefeed with diff.
CREATE TABLE IF NOT EXISTS invoices (
    id BIGINT,
    month TIMESTAMP WITH TIME ZONE,
    customer TEXT,
    status VARCHAR(16),
    amount NUMERIC(18, 2),
    quantity INTEGER,
    serial_no BIGINT,
    score DOUBLE PRECISION,
    flag BOOLEAN,
    created_at TIMESTAMP WITH TIME ZONE,
    updated_at TIMESTAMP WITH TIME ZONE,
    note TEXT,
    attributes OBJECT(IGNORED),
    tags ARRAY(TEXT),
    cdc_version TEXT,
    cdc_deleted BOOLEAN,
    cdc_source_ts TIMESTAMP WITH TIME ZONE,
    cdc_ingested_at TIMESTAMP WITH TIME ZONE,
    cdc_topic TEXT,
    cdc_partition INTEGER,
    cdc_offset BIGINT,
    cdc_op TEXT,
    CONSTRAINT invoices_amount_not_negative CHECK (amount >= 0),
    PRIMARY KEY (id, month)
) CLUSTERED BY (id) INTO 2 SHARDS PARTITIONED BY (month) WITH (number_of_replicas = 0);

CREATE OR REPLACE VIEW invoices_live AS SELECT * FROM invoices WHERE cdc_deleted = false;
