-- Who there is, how they sign in, and where they are signed in.

CREATE TABLE auth_user (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    -- Lower case, ASCII: written so by the domain.
    email TEXT NOT NULL UNIQUE,
    email_verified BOOLEAN NOT NULL,
    image TEXT,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    -- Every change of credentials, sessions or bans touches the user's row first: it is their lock.
    last_sign_in_at TIMESTAMPTZ,
    banned BOOLEAN NOT NULL,
    ban_reason TEXT,
    ban_expires_at TIMESTAMPTZ
);

CREATE INDEX auth_user_created ON auth_user (created_at, id);

CREATE TABLE auth_account (
    user_id TEXT NOT NULL REFERENCES auth_user (id),
    provider_id TEXT NOT NULL,
    -- PHC string (argon2id).
    password_hash TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (user_id, provider_id)
);

CREATE TABLE auth_session (
    id TEXT PRIMARY KEY,
    -- SHA-256 of the token; the token itself is stored nowhere.
    token_hash BYTEA NOT NULL UNIQUE,
    user_id TEXT NOT NULL REFERENCES auth_user (id),
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    expires_at TIMESTAMPTZ NOT NULL,
    absolute_expires_at TIMESTAMPTZ NOT NULL,
    ip_address TEXT,
    user_agent TEXT,
    active_organization_id TEXT,
    remember BOOLEAN NOT NULL
);

CREATE INDEX auth_session_user ON auth_session (user_id);
CREATE INDEX auth_session_expires ON auth_session (expires_at);

-- One row ever: who signed up first. Its key decides a race between the first sign-ups.
CREATE TABLE auth_owner (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    user_id TEXT NOT NULL,
    claimed_at TIMESTAMPTZ NOT NULL
);

-- Ids of signing keys. The keys are derived from the secret, which is not here.
CREATE TABLE auth_signing_key (
    kid TEXT PRIMARY KEY,
    -- Unique, so that replicas that start together make one key.
    generation BIGINT NOT NULL UNIQUE,
    created_at TIMESTAMPTZ NOT NULL,
    retired_at TIMESTAMPTZ
);

CREATE TABLE auth_failed_sign_in (
    -- SHA-256 of the account's address, known or not.
    account_key BYTEA PRIMARY KEY,
    misses BIGINT NOT NULL,
    last_at TIMESTAMPTZ NOT NULL,
    blocked_until TIMESTAMPTZ
);

-- What happened to whom, and who did it. Append-only.
CREATE TABLE auth_audit_event (
    id TEXT PRIMARY KEY,
    at TIMESTAMPTZ NOT NULL,
    action TEXT NOT NULL,
    -- Id of the user who acted, name of the service, or `anonymous`.
    actor TEXT NOT NULL CHECK (actor <> ''),
    -- Id of the user it happened to, when there is one.
    subject TEXT,
    ip_address TEXT,
    user_agent TEXT,
    request_id TEXT NOT NULL
);

CREATE INDEX auth_audit_event_at ON auth_audit_event (at, id);
CREATE INDEX auth_audit_event_subject ON auth_audit_event (subject, at);
