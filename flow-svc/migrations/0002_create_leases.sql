-- Who follows the changes of records; one process at a time.
CREATE TABLE om_lease (
    name TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    fence BIGINT NOT NULL,
    until_ms BIGINT NOT NULL
);
