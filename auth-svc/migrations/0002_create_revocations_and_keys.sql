-- What ends identity tokens before their time, API keys, and what data-svc is still to be told.

-- The feed of revocations. Rows go after an hour: nothing they concern is still good then.
CREATE TABLE auth_revocation (
    position BIGINT PRIMARY KEY,
    at TIMESTAMPTZ NOT NULL,
    -- session, key, user, user_rights, everybody
    kind TEXT NOT NULL,
    -- Id of the session, key or user; empty for everybody.
    subject TEXT NOT NULL
);

CREATE INDEX auth_revocation_at ON auth_revocation (at);

-- One row: the last position. A transaction that revokes keeps it locked until it ends, so that
-- positions are in the order of the commits and none is seen before a lower one.
CREATE TABLE auth_revocation_head (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    position BIGINT NOT NULL
);

INSERT INTO auth_revocation_head (id, position) VALUES (1, 0);

-- How far the changes that data-svc tells were taken in, by whichever replica.
CREATE TABLE auth_followed (
    source TEXT PRIMARY KEY,
    position BIGINT NOT NULL
);

CREATE TABLE auth_api_key (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES auth_user (id),
    name TEXT NOT NULL,
    -- The first characters of the secret, to tell keys apart.
    prefix TEXT NOT NULL,
    -- SHA-256 of the secret; the secret itself is stored nowhere.
    key_hash BYTEA NOT NULL UNIQUE,
    -- Comma list; NULL when the key is not narrowed.
    scopes TEXT,
    created_at TIMESTAMPTZ NOT NULL,
    expires_at TIMESTAMPTZ,
    -- To the hour, so that a use does not cost a write.
    last_used_at TIMESTAMPTZ
);

CREATE INDEX auth_api_key_user ON auth_api_key (user_id);

-- Users whom data-svc is to be told about, again and again until it was.
CREATE TABLE auth_profile_outbox (
    user_id TEXT PRIMARY KEY,
    -- Another one with each change: who told an older state deletes nothing.
    change_id TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    due_at TIMESTAMPTZ NOT NULL
);

CREATE INDEX auth_profile_outbox_due ON auth_profile_outbox (due_at);

-- The key or run that an entry is about, where it is about one.
ALTER TABLE auth_audit_event ADD COLUMN detail TEXT;
