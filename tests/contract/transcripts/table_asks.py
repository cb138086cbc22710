"""The catalogue, definitions and their changes, the migration's lock, and what a curious user asks."""

from __future__ import annotations

from ingest.crate import catalogue
from ingest.crate.writer import RUNNING
from tests.contract.transcripts.ask import JAN, SCHEMA, Ask

SHOP = f"{SCHEMA}.shop"
CATALOGUE = [
    Ask(
        f'CREATE TABLE IF NOT EXISTS {SHOP} (id BIGINT, "Made At" TIMESTAMP WITH TIME ZONE, month TIMESTAMP WITH TIME '
        "ZONE GENERATED ALWAYS AS date_trunc('month', \"Made At\"), amount NUMERIC(38, 10) DEFAULT 0 NOT NULL, "
        "name VARCHAR(5), tags ARRAY(TEXT), sizes ARRAY(NUMERIC(10, 2)), "
        "doc OBJECT(IGNORED), fixed OBJECT(STRICT) AS (x INTEGER, y OBJECT(DYNAMIC) AS (z TEXT)), code CHAR(2), bits "
        "BIT(4), place GEO_POINT, "
        "amount_check INTEGER, CONSTRAINT not_negative CHECK (amount_check >= 0), PRIMARY KEY (id, month)) "
        "CLUSTERED BY (id) INTO 3 SHARDS PARTITIONED BY (month) WITH (number_of_replicas = 0)"
    ),
    Ask(f"CREATE TABLE IF NOT EXISTS {SHOP} (id BIGINT)"),
    Ask(f"CREATE TABLE {SHOP} (id BIGINT)"),
    Ask(catalogue.TABLES, [[SCHEMA], ["shop"]]),
    Ask(catalogue.COLUMNS, [[SCHEMA], ["shop"]]),
    Ask(catalogue.KEYS, [[SCHEMA], ["shop"]]),
    Ask(catalogue.PARTITIONS, [[SCHEMA], ["shop"]]),
    Ask(f"SHOW CREATE TABLE {SHOP}"),
    Ask(
        "SELECT constraint_name, constraint_type FROM information_schema.table_constraints WHERE table_schema = ? AND "
        "table_name = ? "
        "ORDER BY constraint_name",
        [SCHEMA, "shop"],
    ),
    Ask(
        "SELECT table_type, partitioned_by, clustered_by, number_of_shards, number_of_replicas, column_policy, "
        "closed, settings['blocks']['write'] "
        "FROM information_schema.tables WHERE table_schema = ? AND table_name = ?",
        [SCHEMA, "shop"],
    ),
    Ask(
        f'INSERT INTO {SHOP} (id, "Made At", name, amount_check) VALUES (?, ?, ?, ?) ON CONFLICT (id, month) '
        "DO UPDATE SET name = excluded.name",
        bulk=[[1, JAN + 5, "a", 1], [2, "2024-02-03T04:05:06Z", "b", 1]],
    ),
    Ask(
        f'INSERT INTO {SHOP} (id, "Made At") VALUES (?, ?) ON CONFLICT (id, month) DO UPDATE SET "Made At" = excluded."Made At"',
        bulk=[[1, JAN]],
    ),
    Ask(f"REFRESH TABLE {SHOP}"),
    Ask(f"SELECT id, month, amount, name FROM {SHOP} ORDER BY id"),
    Ask(f"{catalogue.PARTITIONS} ORDER BY values['month']", [[SCHEMA], ["shop"]]),
    Ask(f"CREATE OR REPLACE VIEW {SHOP}_live AS SELECT id, name FROM {SHOP} WHERE name = 'a'"),
    Ask(f"SELECT * FROM {SHOP}_live"),
    Ask("SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = ? ORDER BY table_name", [SCHEMA]),
    Ask(f"ALTER TABLE {SHOP} ADD COLUMN colour TEXT"),
    Ask(f"ALTER TABLE {SHOP} ADD COLUMN colour TEXT"),
    Ask(f"SELECT colour FROM {SHOP} WHERE id = 1 AND month = {JAN}"),
    Ask(RUNNING.replace("ingest %", "ingest nobody %")),
    Ask(f"/* ingest g doc.t/0 1 */ SELECT id FROM {SHOP} WHERE id = 1 AND month = {JAN}"),
    Ask("/* ingest transcripts */ SELECT substr(stmt, 1, 400) FROM sys.jobs WHERE stmt LIKE '/* ingest transcripts%'"),
    Ask(catalogue.USER_TABLES + " AND table_schema = 'no_such_schema'"),
    Ask("SELECT 1"),
    Ask("SELECT version['number'] FROM sys.nodes"),
    Ask(f"DROP VIEW {SHOP}_live"),
    Ask(f"DROP TABLE {SHOP}"),
    Ask(f"DROP TABLE {SHOP}"),
    Ask(f"DROP TABLE IF EXISTS {SHOP}"),
]

CITIES = f"{SCHEMA}.cities"
CURIOUS = [
    Ask(
        f"CREATE TABLE {CITIES} (id INTEGER PRIMARY KEY, name TEXT, land TEXT, people BIGINT, area DOUBLE PRECISION, "
        f"seen TIMESTAMP WITH TIME ZONE, "
        "info OBJECT(IGNORED), tags ARRAY(TEXT)) CLUSTERED INTO 1 SHARDS"
    ),
    Ask(
        f"INSERT INTO {CITIES} (id, name, land, people, area, seen, info, tags) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        bulk=[
            [1, "Graz", "AT", 290, 127.6, "2024-01-01", {"a": {"b": 1}}, ["x", "y"]],
            [2, "Wien", "AT", 1900, 414.8, "2024-02-01", {"a": {"b": 2}}, []],
            [3, "Bern", "CH", 134, 51.6, None, None, None],
            [4, "Ulm", None, None, 118.7, JAN, {}, ["x"]],
        ],
    ),
    Ask(f"REFRESH TABLE {CITIES}"),
    Ask(f"SELECT * FROM {CITIES} ORDER BY id"),
    Ask(f"SELECT name, people FROM {CITIES} WHERE people > 100 AND land = 'AT' ORDER BY people DESC"),
    Ask(f"SELECT name FROM {CITIES} ORDER BY people"),
    Ask(f"SELECT name FROM {CITIES} ORDER BY people DESC, id LIMIT 2 OFFSET 1"),
    Ask(f"SELECT count(*) FROM {CITIES}"),
    Ask(f"SELECT count(*) AS n, count(land), min(people), max(name), sum(people), avg(area) FROM {CITIES} WHERE id < 4"),
    Ask(f"SELECT land, count(*) FROM {CITIES} GROUP BY land ORDER BY land"),
    Ask(f"SELECT land, count(*) AS n FROM {CITIES} GROUP BY 1 ORDER BY n DESC, land LIMIT 2"),
    Ask(f"SELECT land, count(*) FILTER (WHERE people > 1000) FROM {CITIES} GROUP BY land HAVING count(*) > 1"),
    Ask(f"SELECT DISTINCT land FROM {CITIES} ORDER BY land"),
    Ask(f"SELECT id FROM {CITIES} WHERE land IS NULL"),
    Ask(f"SELECT id FROM {CITIES} WHERE land IS NOT NULL AND NOT land = 'AT'"),
    Ask(f"SELECT id FROM {CITIES} WHERE land <> 'AT' OR people < 300 ORDER BY id"),
    Ask(f"SELECT id FROM {CITIES} WHERE name LIKE '%r%' ORDER BY id"),
    Ask(f"SELECT id FROM {CITIES} WHERE id BETWEEN 2 AND 3 ORDER BY id"),
    Ask(f"SELECT id FROM {CITIES} WHERE id IN (1, ?, 9) ORDER BY id", [2]),
    Ask(f"SELECT id FROM {CITIES} WHERE id = ANY(?) ORDER BY id", [[1, 3]]),
    Ask(f"SELECT id FROM {CITIES} WHERE 'x' = ANY(tags) ORDER BY id"),
    Ask(f"SELECT info['a']['b'] AS b FROM {CITIES} WHERE id = 2"),
    Ask(f"SELECT id, people + 1, people / 3, -id, people % 7 FROM {CITIES} WHERE id = 1"),
    Ask(f"SELECT upper(name), lower(name), length(name), coalesce(land, '-'), name || '!' FROM {CITIES} WHERE id = 4"),
    Ask(f"SELECT CASE WHEN people > 1000 THEN 'big' ELSE 'small' END AS size FROM {CITIES} ORDER BY id"),
    Ask(f"SELECT date_trunc('month', seen), people::text, CAST(area AS INTEGER) FROM {CITIES} WHERE id = 1"),
    Ask(f"SELECT c.name FROM {CITIES} AS c WHERE c.id = 1"),
    Ask(f"SELECT id FROM {CITIES} WHERE seen >= '2024-01-15'"),
    Ask(f"SELECT id FROM {CITIES} WHERE id = '1'"),
    Ask(f"SELECT name, count(*) FROM {CITIES}"),
    Ask(f"SELECT count(*) FROM {CITIES} WHERE name = 5 AND id = 1"),
    Ask("SELECT 1 AS one, 'a', NULL, TRUE, 1.5"),
    Ask(f"DELETE FROM {CITIES} WHERE people < 200"),
    Ask(f"UPDATE {CITIES} SET people = people + 1, name = upper(name) WHERE land = 'AT'"),
    Ask(f"REFRESH TABLE {CITIES}"),
    Ask(f"SELECT id, name, people FROM {CITIES} ORDER BY id"),
    Ask(f"INSERT INTO {CITIES} (id, name) (SELECT id + 100, name FROM {CITIES} WHERE id = 1)"),
    Ask(f"REFRESH TABLE {CITIES}"),
    Ask(f"SELECT max(id) FROM {CITIES}"),
]

FIRST, SECOND = f"{SCHEMA}.first_one", f"{SCHEMA}.second_one"
CHANGES = [
    Ask(
        f"CREATE TABLE {FIRST} (id BIGINT PRIMARY KEY, name TEXT, made TIMESTAMP WITH TIME ZONE DEFAULT '2024-01-01', "
        f"n INTEGER) CLUSTERED INTO 1 SHARDS"
    ),
    Ask(f"CREATE TABLE {SECOND} (id BIGINT PRIMARY KEY, name TEXT) CLUSTERED INTO 1 SHARDS"),
    Ask(f"INSERT INTO {FIRST} (id, name) VALUES (?, ?)", bulk=[[1, "a"], [2, "b"], [3, "c"]]),
    Ask(f"INSERT INTO {FIRST} VALUES (4, 'd', NULL, 4)"),
    Ask(f"REFRESH TABLE {FIRST}"),
    Ask(f"SELECT id, name, made FROM {FIRST} ORDER BY id"),
    Ask(f"INSERT INTO {SECOND} (id, name) (SELECT id, name FROM {FIRST} WHERE id < 3)"),
    Ask(f"REFRESH TABLE {SECOND}"),
    Ask(f"INSERT INTO {SECOND} (id, name) SELECT id, name FROM {FIRST} ON CONFLICT (id) DO NOTHING"),
    Ask(f"REFRESH TABLE {SECOND}"),
    Ask(f"SELECT count(*), count(DISTINCT name) FROM {SECOND}"),
    Ask(f"ALTER TABLE {FIRST} ADD COLUMN x INTEGER, ADD COLUMN y TEXT"),
    Ask(f"ALTER TABLE {FIRST} DROP COLUMN n"),
    Ask(f"ALTER TABLE {FIRST} DROP COLUMN n"),
    Ask(f"SELECT * FROM {FIRST} WHERE id = 1"),
    Ask(f"UPDATE {FIRST} SET name = ? WHERE name = ?", bulk=[["z", "a"], ["y", "nobody"]]),
    Ask(f"DELETE FROM {FIRST} WHERE name = ?", bulk=[["b"], ["nobody"]]),
    Ask(f"UPDATE {FIRST} SET name = upper(name)"),
    Ask(f"ALTER CLUSTER SWAP TABLE {FIRST} TO {SECOND}"),
    Ask(f"REFRESH TABLE {FIRST}, {SECOND}"),
    Ask(f"SELECT id, name FROM {SECOND} ORDER BY id"),
    Ask(f"ALTER TABLE {FIRST} RENAME TO third_one"),
    Ask("SELECT table_name FROM information_schema.tables WHERE table_schema = ? ORDER BY 1", [SCHEMA]),
    Ask(f"DELETE FROM {SCHEMA}.third_one"),
    Ask(f"REFRESH TABLE {SCHEMA}.third_one"),
    Ask(f"SELECT count(*) FROM {SCHEMA}.third_one"),
    Ask(f"SELECT count(*) FROM (SELECT id FROM {SECOND} WHERE id > 1) AS few"),
    Ask(f"SELECT (SELECT count(*) FROM {SECOND}) AS n, id FROM {SECOND} WHERE name ILIKE 'z%'"),
    Ask(f"CREATE VIEW {SCHEMA}.seen AS SELECT * FROM {SECOND} WHERE id > 1"),
    Ask(f"CREATE VIEW {SCHEMA}.seen AS SELECT * FROM {SECOND}"),
    Ask(f"SELECT name FROM {SCHEMA}.seen WHERE id = 3"),
    Ask(f"SELECT count(*) FROM {SCHEMA}.seen"),
    Ask(f"SELECT name, count(*) FROM {SCHEMA}.seen GROUP BY name ORDER BY 2 DESC, 1 LIMIT ?", [1]),
    Ask(f'ALTER TABLE {SECOND} SET ("blocks.write" = true)'),
    Ask(f"INSERT INTO {SECOND} (id) VALUES (?)", bulk=[[9]]),
    Ask(f'ALTER TABLE {SECOND} RESET ("blocks.write")'),
    Ask(f"INSERT INTO {SECOND} (id) VALUES (?)", bulk=[[9]]),
    Ask(f"DROP VIEW {SCHEMA}.seen"),
    Ask(f"DROP TABLE {SECOND}"),
    Ask(f"SELECT * FROM {SECOND}"),
]

LOCK = f"{SCHEMA}.ingest_lock"
LOCKS = [
    Ask(
        f"CREATE TABLE IF NOT EXISTS {LOCK} (name TEXT PRIMARY KEY, owner TEXT, expires_at TIMESTAMP WITH TIME ZONE) "
        f"CLUSTERED INTO 1 SHARDS"
    ),
    Ask(f"INSERT INTO {LOCK} (name, owner, expires_at) VALUES (?, ?, ?)", ["migrate", "a", 1]),
    Ask(f"INSERT INTO {LOCK} (name, owner, expires_at) VALUES (?, ?, ?)", ["migrate", "b", 1]),
    Ask(f"SELECT owner, expires_at, _seq_no, _primary_term FROM {LOCK} WHERE name = ?", ["migrate"]),
    Ask(
        f"UPDATE {LOCK} SET owner = ?, expires_at = ? WHERE name = ? AND _seq_no = ? AND _primary_term = ?",
        ["b", 2, "migrate", 5, 1],
    ),
    Ask(
        f"UPDATE {LOCK} SET owner = ?, expires_at = ? WHERE name = ? AND _seq_no = ? AND _primary_term = ?",
        ["b", 2, "migrate", 0, 1],
    ),
    Ask(f"SELECT owner, expires_at, _seq_no FROM {LOCK} WHERE name = ?", ["migrate"]),
    Ask(f"DELETE FROM {LOCK} WHERE name = ? AND _seq_no = ? AND _primary_term = ?", ["migrate", 0, 1]),
    Ask(f"DELETE FROM {LOCK} WHERE name = ? AND _seq_no = ? AND _primary_term = ?", ["migrate", 1, 1]),
    Ask(f"REFRESH TABLE {LOCK}"),
    Ask(f"SELECT count(*) FROM {LOCK}"),
]
