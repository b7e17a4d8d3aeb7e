-- Which SKUs have live holds: an owner that starts, or that SKUs come to, finds them without looking through the stock
-- of a million others. The triggers run only when a row's first hold begins or its last one ends, so a hot SKU pays
-- nothing; they are part of the commit, so the list is exact.

CREATE TABLE inventory_live_skus (
    sku           text COLLATE "C" NOT NULL,
    warehouse_id  text COLLATE "C" NOT NULL,
    PRIMARY KEY (sku, warehouse_id)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);
COMMENT ON TABLE inventory_live_skus IS 'The rows of inventory_stock with reserved > 0, kept by triggers of that table.';

CREATE FUNCTION inventory_note_live() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO inventory_live_skus (sku, warehouse_id) VALUES (new.sku, new.warehouse_id) ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;

CREATE FUNCTION inventory_note_rest() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM inventory_live_skus WHERE sku = old.sku AND warehouse_id = old.warehouse_id;
    RETURN NULL;
END
$$;

CREATE TRIGGER first_row_is_live AFTER INSERT ON inventory_stock
FOR EACH ROW WHEN (new.reserved > 0) EXECUTE FUNCTION inventory_note_live();

CREATE TRIGGER first_hold_begins AFTER UPDATE OF reserved ON inventory_stock
FOR EACH ROW WHEN (old.reserved = 0 AND new.reserved > 0) EXECUTE FUNCTION inventory_note_live();

CREATE TRIGGER last_hold_ends AFTER UPDATE OF reserved ON inventory_stock
FOR EACH ROW WHEN (old.reserved > 0 AND new.reserved = 0) EXECUTE FUNCTION inventory_note_rest();

INSERT INTO inventory_live_skus (sku, warehouse_id)
SELECT sku, warehouse_id FROM inventory_stock WHERE reserved > 0;
