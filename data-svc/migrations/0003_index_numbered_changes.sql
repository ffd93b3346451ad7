-- Rows without a position had an entry here too, and each was dead as soon as the row was numbered:
-- whoever looked for rows to number read them all until the next vacuum.
DROP INDEX om_outbox_position;
CREATE UNIQUE INDEX om_outbox_position ON om_outbox (position) WHERE position IS NOT NULL;
