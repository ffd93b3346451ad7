-- Each call that carries a key forgets those that are over; without an index it read all of them.
CREATE INDEX om_idempotency_age ON om_idempotency (created_at);
