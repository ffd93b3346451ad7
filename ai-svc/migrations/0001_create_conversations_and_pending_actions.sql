-- What is kept of the talk with models, and what they proposed.

CREATE TABLE ai_conversations (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL,
    organization_id TEXT,
    agent_id TEXT,
    title TEXT,
    -- JSON object, as text, so that its keys keep their order.
    metadata TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL
);

CREATE INDEX ai_conversations_user ON ai_conversations (user_id, id);

CREATE TABLE ai_messages (
    conversation_id TEXT NOT NULL REFERENCES ai_conversations (id),
    -- From 1; taken with the conversation's row locked.
    position BIGINT NOT NULL,
    id TEXT NOT NULL UNIQUE,
    role TEXT NOT NULL,
    content TEXT NOT NULL,
    -- JSON list of {toolCallId, toolName, input}.
    tool_calls TEXT,
    tool_call_id TEXT,
    prompt_tokens BIGINT,
    completion_tokens BIGINT,
    created_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (conversation_id, position)
);

CREATE TABLE ai_pending_actions (
    id TEXT PRIMARY KEY,
    -- Kept when the conversation goes.
    conversation_id TEXT,
    message_id TEXT,
    tool_name TEXT NOT NULL,
    -- Hash of the tool's definition when it was proposed.
    tool_hash TEXT NOT NULL,
    -- Canonical JSON: what was proposed, to the byte.
    tool_input TEXT NOT NULL,
    object_name TEXT,
    record_id TEXT,
    record_version BIGINT,
    action_name TEXT NOT NULL,
    -- JSON object of the fields that would change, as they were.
    before_values TEXT,
    -- pending, approved, executed, failed, rejected, expired
    status TEXT NOT NULL,
    result TEXT,
    error TEXT,
    rejection_reason TEXT,
    comment TEXT,
    -- Name of the agent.
    proposed_by TEXT NOT NULL,
    -- Id of the user for whom it would be done.
    requested_by TEXT NOT NULL,
    -- How that user's work began, as JSON: it is carried out as this.
    beginning TEXT NOT NULL,
    decided_by TEXT,
    proposed_at TIMESTAMPTZ NOT NULL,
    decided_at TIMESTAMPTZ,
    expires_at TIMESTAMPTZ NOT NULL,
    digest TEXT NOT NULL,
    -- While `approved`: until when whoever carries it out is left alone.
    claimed_until TIMESTAMPTZ
);

CREATE INDEX ai_pending_actions_status ON ai_pending_actions (status, claimed_until);
CREATE INDEX ai_pending_actions_requested ON ai_pending_actions (requested_by, id);

-- Each call of a model.
CREATE TABLE ai_traces (
    id TEXT PRIMARY KEY,
    conversation_id TEXT,
    user_id TEXT NOT NULL,
    agent TEXT,
    operation TEXT NOT NULL,
    model TEXT NOT NULL,
    adapter TEXT NOT NULL,
    prompt_tokens BIGINT NOT NULL,
    completion_tokens BIGINT NOT NULL,
    total_tokens BIGINT NOT NULL,
    input_cost DOUBLE PRECISION,
    output_cost DOUBLE PRECISION,
    total_cost DOUBLE PRECISION,
    currency TEXT,
    latency_ms BIGINT NOT NULL,
    -- ok, error, cancelled
    status TEXT NOT NULL,
    error TEXT,
    created_at TIMESTAMPTZ NOT NULL
);

CREATE INDEX ai_traces_created ON ai_traces (created_at);

-- What happened, and who did it. Append-only.
CREATE TABLE ai_audit_events (
    id TEXT PRIMARY KEY,
    at TIMESTAMPTZ NOT NULL,
    action TEXT NOT NULL,
    actor TEXT NOT NULL,
    subject TEXT,
    detail TEXT,
    request_id TEXT NOT NULL
);

CREATE INDEX ai_audit_events_at ON ai_audit_events (at, id);

-- One of several processes does a thing: a run of a conversation, the sweep.
CREATE TABLE om_lease (
    name TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    fence BIGINT NOT NULL,
    until_ms BIGINT NOT NULL
);
