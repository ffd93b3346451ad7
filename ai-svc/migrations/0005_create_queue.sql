-- What is to be done later: approved actions that were left behind, and proposals that nobody decides.
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

-- Those of before: due at once, and put off by whoever looks at them where it is too early.
INSERT INTO om_queue (id, kind, queue_key, payload, due_ms, attempt, fence, created_at_ms)
    SELECT 'carry-out-' || id, 'carry_out', id, '', 0, 0, 0, 0 FROM ai_pending_actions
    WHERE status = 'approved';
INSERT INTO om_queue (id, kind, queue_key, payload, due_ms, attempt, fence, created_at_ms)
    SELECT 'expire-' || id, 'expire', id, '', 0, 0, 0, 0 FROM ai_pending_actions
    WHERE status = 'pending';
