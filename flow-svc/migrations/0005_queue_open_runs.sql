-- Runs are driven by jobs of the queue from now on, also those that have begun.
INSERT INTO om_queue (id, kind, queue_key, payload, due_ms, attempt, fence, created_at_ms)
    SELECT 'drive-' || id, 'flow_run', id, '', next_at_ms, claims, 0, started_at_ms FROM flow_run
    WHERE status IN ('pending', 'running', 'retrying')
    ON CONFLICT (kind, queue_key) DO NOTHING;
