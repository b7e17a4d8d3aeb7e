-- What the ledger adds up to, so that it need not be replayed from zero each time, and old parts can leave
-- (docs/decisions/0019-checkpoints-of-the-ledger.md).

CREATE TABLE inventory_checkpoints (
    sku           text COLLATE "C" NOT NULL,
    warehouse_id  text COLLATE "C" NOT NULL,
    on_hand       bigint NOT NULL,
    reserved      bigint NOT NULL,
    allocated     bigint NOT NULL,
    shipped       bigint NOT NULL,
    entries       bigint NOT NULL,
    reservations  bigint NOT NULL,
    sequence      bigint NOT NULL,
    PRIMARY KEY (sku, warehouse_id)
);
COMMENT ON TABLE inventory_checkpoints IS
    'The ledger replayed up to an entry, by the last audit that found nothing wrong with the SKU. Derived: may be deleted.';
COMMENT ON COLUMN inventory_checkpoints.sequence IS 'The SKU''s last entry that is counted; the same in all its rows.';
COMMENT ON COLUMN inventory_checkpoints.reservations IS 'How many reservations these entries began.';

CREATE TABLE inventory_ledger_closed (LIKE inventory_checkpoints INCLUDING ALL);
COMMENT ON TABLE inventory_ledger_closed IS
    'The sum of all entries that left with archived parts. Not derived: replaying the ledger begins here.';
COMMENT ON COLUMN inventory_ledger_closed.sequence IS 'The last of the SKU''s entries in this warehouse that left.';
