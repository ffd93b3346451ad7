-- Every revision of the metadata that was published, and which permission sets state other rights since
-- it: what identity tokens hold of them. A JSON list of names; the empty name stands for the set that
-- users without assignments fall back to.
CREATE TABLE om_revision (
    revision BIGINT PRIMARY KEY,
    changed_sets TEXT NOT NULL,
    published_at TIMESTAMPTZ NOT NULL
);
