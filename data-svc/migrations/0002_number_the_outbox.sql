-- Who numbers the outbox, trims it, or changes the schema; one process at a time.
CREATE TABLE om_lease (
    name TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    fence BIGINT NOT NULL,
    until_ms BIGINT NOT NULL
);

-- PostgreSQL: taken while the row of the record is locked, so that the changes of one record have
-- rising numbers, whatever the clocks of the replicas say. Not the order of commits: a smaller
-- number may be committed later. SQLite leaves it empty, because there the writer gives positions.
ALTER TABLE om_outbox ADD COLUMN sequence_number BIGSERIAL;

-- Rows that have no position yet: few, so the index is small.
CREATE INDEX om_outbox_unnumbered ON om_outbox (sequence_number) WHERE position IS NULL;

-- One row: the last position that is not kept any more. Positions go on behind it, also when the
-- outbox is empty.
CREATE TABLE om_outbox_floor (
    id BIGINT PRIMARY KEY,
    position BIGINT NOT NULL
);
INSERT INTO om_outbox_floor (id, position) VALUES (1, 0);
