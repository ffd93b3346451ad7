-- What happened, and who did it, in the shape that the audit log has in every service: the columns of
-- `sys_audit_log`. Append-only.

CREATE TABLE IF NOT EXISTS om_audit_log (
    id TEXT PRIMARY KEY,
    created_at TIMESTAMPTZ NOT NULL,
    action TEXT NOT NULL,
    -- The user who acted, or for whom an agent did.
    user_id TEXT,
    -- ai_conversation, ai_pending_action; and the id of the one.
    object_name TEXT,
    record_id TEXT,
    old_value JSONB,
    new_value JSONB,
    ip_address TEXT,
    user_agent TEXT,
    tenant_id TEXT,
    -- The request, the agent's run, the tool.
    metadata JSONB NOT NULL
);

CREATE INDEX IF NOT EXISTS om_audit_log_created ON om_audit_log (created_at ASC, id ASC);
CREATE INDEX IF NOT EXISTS om_audit_log_record
    ON om_audit_log (object_name ASC, record_id ASC, created_at ASC);
