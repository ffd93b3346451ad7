-- Calls that carried an Idempotency-Key: claimed before they run, answered when they have; kept for
-- 24 hours. One that is claimed and not answered belongs to its holder until `until_at`.
CREATE TABLE idempotent_call (
    principal TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    request_hash TEXT NOT NULL,
    holder TEXT NOT NULL,
    until_at TIMESTAMPTZ NOT NULL,
    response TEXT,
    created_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (principal, idempotency_key)
);
CREATE INDEX idempotent_call_age ON idempotent_call (created_at);
