-- Takes the entries of `ai_audit_events` along. The old table stays, for replicas of the version
-- before; nothing reads it any more.
--
-- Every actor was a user. A detail is the name of a tool as a model wrote it, which may be any text:
-- it is carried over where it is a name, so that no character of it needs an escape in JSON.

INSERT INTO om_audit_log (id, created_at, action, user_id, object_name, record_id, metadata)
SELECT id, at, action, actor,
    CASE
        WHEN subject IS NULL THEN NULL
        WHEN action LIKE 'ai.pending_action.%' THEN 'ai_pending_action'
        ELSE 'ai_conversation'
    END,
    subject,
    CAST('{"request_id":"'
        || CASE WHEN ltrim(request_id, 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.:') = '' THEN request_id ELSE '' END
        || '"'
        || CASE
            WHEN detail IS NULL THEN ''
            WHEN ltrim(detail, 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.:') = '' THEN ',"detail":"' || detail || '"'
            ELSE ''
        END
        || '}' AS JSONB)
FROM ai_audit_events
WHERE NOT EXISTS (SELECT 1 FROM om_audit_log AS there WHERE there.id = ai_audit_events.id);
