-- Tables of the engine itself, beside the objects' own. The same text runs on both databases.

-- Installed packages, as the artifact they came as; what every replica serves.
CREATE TABLE om_package (
    id TEXT PRIMARY KEY,
    version TEXT NOT NULL,
    artifact TEXT NOT NULL,
    installed_at TIMESTAMPTZ NOT NULL
);

-- One row: the number of the registry revision in force, moved by compare-and-set.
CREATE TABLE om_registry_head (
    id BIGINT PRIMARY KEY,
    revision BIGINT NOT NULL,
    published_at TIMESTAMPTZ NOT NULL
);

-- Every committed write, in commit order, for flows, webhooks, projections and caches.
CREATE TABLE om_outbox (
    id TEXT PRIMARY KEY,
    position BIGINT,
    object_name TEXT NOT NULL,
    record_id TEXT NOT NULL,
    operation TEXT NOT NULL,
    record_version BIGINT NOT NULL,
    before TEXT,
    after TEXT,
    user_id TEXT,
    request_id TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL
);
CREATE UNIQUE INDEX om_outbox_position ON om_outbox (position);

-- Autonumber counters: one row for each rendered prefix of a field.
CREATE TABLE om_autonumber (
    object_name TEXT NOT NULL,
    field_name TEXT NOT NULL,
    prefix TEXT NOT NULL,
    value BIGINT NOT NULL,
    PRIMARY KEY (object_name, field_name, prefix)
);

-- Secrets of this database that are random, such as the key of cursors.
CREATE TABLE om_secret (
    name TEXT PRIMARY KEY,
    value BYTEA NOT NULL
);

-- First answers of calls that carried an Idempotency-Key; kept for 24 hours.
CREATE TABLE om_idempotency (
    principal TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    request_hash TEXT NOT NULL,
    response TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (principal, idempotency_key)
);

-- Generated data sets that were loaded to their end, so that a restart does not load them again.
CREATE TABLE om_data_set (
    name TEXT PRIMARY KEY,
    loaded_at TIMESTAMPTZ NOT NULL
);
