-- Run at every start: nothing here is done twice.
SET CLUSTER SETTING kv.rangefeed.enabled = true;
CREATE DATABASE IF NOT EXISTS inventory;
CREATE TABLE IF NOT EXISTS inventory.public.items (
    id INT8 PRIMARY KEY,
    name STRING NOT NULL,
    price DECIMAL(18, 2) NOT NULL,
    tags STRING[],
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
UPSERT INTO inventory.public.items VALUES
    (1, 'scooter', 249.90, ARRAY['outdoor', 'wheels'], '2026-01-31 23:59:59.999Z'),
    (2, 'hammer', 1234567890123456.78, NULL, '2026-02-01 00:00:00Z');
