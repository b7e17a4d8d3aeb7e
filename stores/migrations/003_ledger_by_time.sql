-- What changed lately: a new owner publishes it again, because its predecessor may have died between commit and Redis.
-- The ledger grows in the order of time, so a few bytes per hundred pages are enough.

CREATE INDEX inventory_ledger_by_time ON inventory_ledger USING brin (at) WITH (pages_per_range = 32);
