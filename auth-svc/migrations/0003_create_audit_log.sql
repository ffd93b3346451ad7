-- Who did what, in the shape that the audit log has in every service: the columns of `sys_audit_log`.
-- Append-only.

CREATE TABLE IF NOT EXISTS om_audit_log (
    id TEXT PRIMARY KEY,
    created_at TIMESTAMPTZ NOT NULL,
    action TEXT NOT NULL,
    -- The user who acted; NULL when none did, and `metadata` says who.
    user_id TEXT,
    -- What it happened to, when there is one: here users.
    object_name TEXT,
    record_id TEXT,
    old_value JSONB,
    new_value JSONB,
    ip_address TEXT,
    user_agent TEXT,
    tenant_id TEXT,
    -- The request, an actor that is no user, and the key, run or purpose that the entry is about.
    metadata JSONB NOT NULL
);

CREATE INDEX IF NOT EXISTS om_audit_log_created ON om_audit_log (created_at ASC, id ASC);
CREATE INDEX IF NOT EXISTS om_audit_log_record
    ON om_audit_log (object_name ASC, record_id ASC, created_at ASC);
