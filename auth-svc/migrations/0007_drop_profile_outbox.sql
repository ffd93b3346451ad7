-- The queue has taken its place.
DROP TABLE auth_profile_outbox;
