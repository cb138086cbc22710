CREATE TABLE IF NOT EXISTS shop.customers (
    id BIGINT,
    name TEXT,
    email TEXT,
    cdc_version TEXT,
    cdc_deleted BOOLEAN,
    cdc_source_ts TIMESTAMP WITH TIME ZONE,
    cdc_ingested_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (id)
) CLUSTERED INTO 2 SHARDS;

CREATE OR REPLACE VIEW shop.customers_live AS
    SELECT id, name, email FROM shop.customers WHERE cdc_deleted = FALSE;

CREATE TABLE IF NOT EXISTS shop.orders (
    id BIGINT,
    customer_id BIGINT,
    status TEXT,
    total NUMERIC(18, 2),
    note TEXT,
    created_at TIMESTAMP WITH TIME ZONE,
    month TIMESTAMP WITH TIME ZONE,
    cdc_version TEXT,
    cdc_deleted BOOLEAN,
    cdc_source_ts TIMESTAMP WITH TIME ZONE,
    cdc_ingested_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (id, month)
) CLUSTERED BY (id) INTO 2 SHARDS PARTITIONED BY (month);

CREATE OR REPLACE VIEW shop.orders_live AS
    SELECT id, customer_id, status, total, note, created_at, month FROM shop.orders WHERE cdc_deleted = FALSE;
