-- What is to be done later: telling data-svc of users, and the session store of sessions that ended.
CREATE TABLE om_queue (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    queue_key TEXT NOT NULL,
    payload TEXT NOT NULL,
    due_ms BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    fence BIGINT NOT NULL,
    error TEXT,
    dead_at_ms BIGINT,
    created_at_ms BIGINT NOT NULL
);
CREATE UNIQUE INDEX om_queue_key ON om_queue (kind ASC, queue_key ASC);
CREATE INDEX om_queue_due ON om_queue (kind ASC, due_ms ASC) WHERE dead_at_ms IS NULL;
CREATE INDEX om_queue_dead ON om_queue (kind ASC, dead_at_ms ASC) WHERE dead_at_ms IS NOT NULL;
