-- Who drives a run, and when it goes on, is told by its job.
DROP INDEX flow_run_open;
ALTER TABLE flow_run DROP COLUMN next_at_ms;
ALTER TABLE flow_run DROP COLUMN driver;
ALTER TABLE flow_run DROP COLUMN fence;
ALTER TABLE flow_run DROP COLUMN claims;
DROP TABLE flow_driver;
