-- What data-svc is still to be told of users is a job of the queue from now on.
INSERT INTO om_queue (id, kind, queue_key, payload, due_ms, attempt, fence, created_at_ms)
    SELECT 'profile-' || user_id, 'profile', user_id, '', 0, 0, 0, 0 FROM auth_profile_outbox
    WHERE user_id <> ''
    ON CONFLICT (kind, queue_key) DO NOTHING;
