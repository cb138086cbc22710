-- Run by psql once, when the database is made: the tables, and a user who may do no more than read their changes.
\getenv debezium_password DEBEZIUM_PASSWORD

CREATE TABLE customers (
    id BIGINT PRIMARY KEY,
    name TEXT NOT NULL,
    email TEXT
);

CREATE TABLE orders (
    id BIGINT PRIMARY KEY,
    customer_id BIGINT NOT NULL REFERENCES customers,
    status TEXT NOT NULL DEFAULT 'new',
    total NUMERIC(18, 2) NOT NULL,
    note TEXT,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now()
);

-- With it a change says what the row was before, also its month: deletes and moves then need no look-up (before = "full").
ALTER TABLE customers REPLICA IDENTITY FULL;
ALTER TABLE orders REPLICA IDENTITY FULL;

CREATE ROLE debezium WITH LOGIN REPLICATION PASSWORD :'debezium_password';
GRANT SELECT ON ALL TABLES IN SCHEMA public TO debezium;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO debezium;
CREATE PUBLICATION ingest FOR ALL TABLES;

INSERT INTO customers VALUES (1, 'Ada', 'ada@example.org'), (2, 'Grace', NULL);
INSERT INTO orders (id, customer_id, total, created_at) VALUES
    (1001, 1, 19.99, '2026-01-31 23:59:59.999Z'),
    (1002, 1, 1234567890123456.78, '2026-02-01 00:00:00Z'),
    (1003, 2, 0.10, '2026-02-14 12:00:00+02');
