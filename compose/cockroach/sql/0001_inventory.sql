CREATE TABLE IF NOT EXISTS inventory.items (
    id BIGINT,
    name TEXT,
    price NUMERIC(18, 2),
    tags ARRAY(TEXT),
    updated_at TIMESTAMP WITH TIME ZONE,
    cdc_version TEXT,
    cdc_deleted BOOLEAN,
    cdc_source_ts TIMESTAMP WITH TIME ZONE,
    cdc_ingested_at TIMESTAMP WITH TIME ZONE,
    PRIMARY KEY (id)
) CLUSTERED INTO 2 SHARDS;

CREATE OR REPLACE VIEW inventory.items_live AS
    SELECT id, name, price, tags, updated_at FROM inventory.items WHERE cdc_deleted = FALSE;
