-- The journal of flows. Moments are milliseconds since 1970; `until_ms` goes by the clock of the
-- database alone.

-- Flows as they were when runs of them began: a run ends with the definition it began with.
CREATE TABLE flow_definition (
    hash TEXT PRIMARY KEY,
    flow TEXT NOT NULL,
    definition TEXT NOT NULL
);

-- Processes that drive runs. Runs of one that has fallen silent go to another.
CREATE TABLE flow_driver (
    id TEXT PRIMARY KEY,
    until_ms BIGINT NOT NULL
);

-- Runs. `fence` rises with each change of driver: a write to the journal under another number
-- changes nothing. `trail` is the request id of all that the run does, known to nobody outside, so
-- that changes tell which run made them; `depth` counts the runs that led here. `claims` counts the
-- drivers since the last step that ended. `start_key` is the Idempotency-Key of the start, and
-- `start_principal` whose key it is.
CREATE TABLE flow_run (
    id TEXT PRIMARY KEY,
    flow TEXT NOT NULL,
    definition_hash TEXT NOT NULL,
    flow_version BIGINT NOT NULL,
    status TEXT NOT NULL,
    run_as TEXT NOT NULL,
    trigger_type TEXT NOT NULL,
    user_id TEXT,
    object_name TEXT,
    record_id TEXT,
    beginning TEXT,
    input TEXT NOT NULL,
    context TEXT NOT NULL,
    warnings TEXT NOT NULL,
    depth BIGINT NOT NULL,
    trail TEXT NOT NULL,
    attempt BIGINT NOT NULL,
    next_at_ms BIGINT NOT NULL,
    driver TEXT,
    fence BIGINT NOT NULL,
    claims BIGINT NOT NULL,
    start_principal TEXT,
    start_key TEXT,
    start_hash TEXT,
    output TEXT,
    error TEXT,
    started_at_ms BIGINT NOT NULL,
    ended_at_ms BIGINT
);
CREATE UNIQUE INDEX flow_run_trail ON flow_run (trail);
CREATE UNIQUE INDEX flow_run_start_key ON flow_run (start_principal, start_key);
CREATE INDEX flow_run_flow ON flow_run (flow, id);
CREATE INDEX flow_run_open ON flow_run (next_at_ms) WHERE status IN ('pending', 'running', 'retrying');

-- Steps, each under the path on which the run came to it. `plan` is what the step was going to do,
-- kept before it does it; `result` is what came of it, and such a step never runs again.
CREATE TABLE flow_step (
    run_id TEXT NOT NULL,
    visit TEXT NOT NULL,
    retry BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    level BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    node_id TEXT NOT NULL,
    node_type TEXT NOT NULL,
    label TEXT,
    iteration BIGINT,
    status TEXT NOT NULL,
    plan TEXT,
    result TEXT,
    started_at_ms BIGINT NOT NULL,
    completed_at_ms BIGINT,
    PRIMARY KEY (run_id, visit, retry)
);

-- How far the changes of records have been looked at.
CREATE TABLE flow_following (
    name TEXT PRIMARY KEY,
    position BIGINT NOT NULL
);
