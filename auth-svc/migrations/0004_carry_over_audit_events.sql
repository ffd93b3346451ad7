-- Takes the entries of `auth_audit_event` along. The old table stays, for replicas of the version
-- before; nothing reads it any more.
--
-- An actor was a user's id (26 characters), the name of a service, or `anonymous`. The texts of
-- requests and details hold no control characters, so that quotes and backslashes are all there is
-- to escape.

INSERT INTO om_audit_log (id, created_at, action, user_id, object_name, record_id, ip_address,
    user_agent, metadata)
SELECT id, at, action,
    CASE WHEN length(actor) = 26 THEN actor END,
    CASE WHEN subject IS NOT NULL THEN 'sys_user' END,
    subject, ip_address, user_agent,
    CAST('{"request_id":"' || replace(replace(request_id, '\', '\\'), '"', '\"') || '"'
        || CASE
            WHEN length(actor) = 26 THEN ''
            WHEN actor = 'anonymous' THEN ',"actor":"anonymous"'
            ELSE ',"actor":"service","service":"' || replace(replace(actor, '\', '\\'), '"', '\"') || '"'
        END
        || CASE
            WHEN detail IS NULL THEN ''
            ELSE ',"detail":"' || replace(replace(detail, '\', '\\'), '"', '\"') || '"'
        END
        || '}' AS JSONB)
FROM auth_audit_event
WHERE NOT EXISTS (SELECT 1 FROM om_audit_log AS there WHERE there.id = auth_audit_event.id);
