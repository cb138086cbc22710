-- The stock of CockroachDB, from its changefeeds. A table with cdc_version and cdc_deleted keeps the newest version of each row,
-- whatever order changes come in; a deleted row stays as a mark. People read the view.

CREATE TABLE IF NOT EXISTS demo.products (
    id BIGINT PRIMARY KEY,
    name TEXT,
    price NUMERIC(10, 2) CHECK (price >= 0),
    cdc_version TEXT,
    cdc_deleted BOOLEAN,
    cdc_source_ts TIMESTAMP WITH TIME ZONE,
    cdc_ingested_at TIMESTAMP WITH TIME ZONE
) CLUSTERED INTO 2 SHARDS WITH (number_of_replicas = 0);

CREATE TABLE IF NOT EXISTS demo.inventory (
    warehouse TEXT,
    product_id BIGINT,
    quantity INTEGER,
    cdc_version TEXT,
    cdc_deleted BOOLEAN,
    cdc_source_ts TIMESTAMP WITH TIME ZONE,
    cdc_ingested_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (warehouse, product_id)
) CLUSTERED INTO 2 SHARDS WITH (number_of_replicas = 0);

CREATE OR REPLACE VIEW demo.products_live AS
    SELECT id, name, price FROM demo.products WHERE cdc_deleted = FALSE;

CREATE OR REPLACE VIEW demo.inventory_live AS
    SELECT warehouse, product_id, quantity FROM demo.inventory WHERE cdc_deleted = FALSE;
