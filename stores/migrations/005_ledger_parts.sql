-- The ledger in parts by time (docs/decisions/0018-ledger-in-parts.md). What is there becomes the first part as it is:
-- nothing is rewritten, it is read once to see that it fits. Readers and inventory_commit notice nothing.
-- Each part keeps (sku, sequence) unique by itself; between parts the version of the stock row does.

ALTER TABLE inventory_ledger RENAME TO inventory_ledger_first;
ALTER INDEX inventory_ledger_pkey RENAME TO inventory_ledger_first_pkey;
ALTER INDEX inventory_ledger_by_time RENAME TO inventory_ledger_first_by_time;
ALTER INDEX inventory_ledger_first_by_time SET (autosummarize = on);

CREATE TABLE inventory_ledger (LIKE inventory_ledger_first INCLUDING COMMENTS INCLUDING STORAGE) PARTITION BY RANGE (at);
COMMENT ON TABLE inventory_ledger IS
    'Append-only. One entry for all movements of one kind, SKU and warehouse in one commit; operation_ids lists them.';
CREATE INDEX inventory_ledger_by_time ON inventory_ledger USING brin (at)
    WITH (pages_per_range = 32, autosummarize = on);

-- Up to the end of next month, UTC: so long a shop that is being upgraded can do without the maintenance.
DO $$
DECLARE
    until timestamp := date_trunc('month', now() AT TIME ZONE 'UTC') + interval '2 months';
BEGIN
    EXECUTE format(
        'ALTER TABLE inventory_ledger ATTACH PARTITION inventory_ledger_first FOR VALUES FROM (MINVALUE) TO (%L)',
        to_char(until, 'YYYY-MM-DD') || 'T00:00:00Z'
    );
END
$$;

CREATE TABLE inventory_ledger_other (LIKE inventory_ledger INCLUDING STORAGE, PRIMARY KEY (sku, sequence));
ALTER TABLE inventory_ledger ATTACH PARTITION inventory_ledger_other DEFAULT;
COMMENT ON TABLE inventory_ledger_other IS
    'Entries of a time that no part has been made for: empty while maintenance keeps up, moved when it does again.';
