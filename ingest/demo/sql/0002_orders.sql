-- Orders, one partition for each month of delivery. The worker fills the column month; schemas/orders.toml says from what.

CREATE TABLE IF NOT EXISTS demo.orders (
    id BIGINT,
    customer TEXT,
    status TEXT,
    total NUMERIC(12, 2),
    delivery_at TIMESTAMP WITH TIME ZONE,
    month TIMESTAMP WITH TIME ZONE,
    cdc_version TEXT,
    cdc_deleted BOOLEAN,
    cdc_source_ts TIMESTAMP WITH TIME ZONE,
    cdc_ingested_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (id, month)
) CLUSTERED BY (id) INTO 2 SHARDS PARTITIONED BY (month) WITH (number_of_replicas = 0);

CREATE OR REPLACE VIEW demo.orders_live AS
    SELECT id, customer, status, total, delivery_at, month FROM demo.orders WHERE cdc_deleted = FALSE;
