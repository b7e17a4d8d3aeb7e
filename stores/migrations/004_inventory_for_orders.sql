-- Holds that carts name and that can be put in place of each other, holds that last longer, allocations that ship or
-- are given back. The commit writes them under the same fence as everything else.

ALTER TABLE inventory_reservations
    ADD in_cart boolean NOT NULL DEFAULT false,
    ADD shipped smallint NOT NULL DEFAULT 0,
    ADD cancelled smallint NOT NULL DEFAULT 0;
COMMENT ON COLUMN inventory_reservations.in_cart IS 'A cart line names it: carts that Redis has lost are rebuilt from these.';
COMMENT ON COLUMN inventory_reservations.shipped IS 'Units of an allocation that have left.';
COMMENT ON COLUMN inventory_reservations.cancelled IS
    'Units of an allocation that were given back; quantity - shipped - cancelled is owed while the state is 1.';

-- Neither index names the state, nor does a direct reservation enter one: ends stay HOT updates.
CREATE INDEX inventory_holds_in_carts ON inventory_reservations (customer_id) WHERE in_cart;
CREATE INDEX inventory_holds_in_carts_by_expiry ON inventory_reservations
    USING brin (expires_at) WITH (pages_per_range = 32) WHERE in_cart;

COMMENT ON COLUMN inventory_ledger.kind IS
    '0 reserve, 1 allocate, 2 release, 3 expire, 4 restock, 5 shrinkage, 6 set aside for a drop, 7 ship, 8 deallocate';
COMMENT ON TABLE inventory_operations IS
    'Restocks, shrinkages, drops, shipments and what was given back, with their first answers (msgpack), so that a retry repeats them.';

DROP FUNCTION inventory_commit(
    integer[], bigint[], timestamptz,
    text[], uuid[], text[], integer[], uuid[], uuid[], timestamptz[],
    text[], uuid[], text[], integer[], smallint[], text[],
    text[], bigint[], text[], smallint[], bigint[], integer[], integer[], text[], bigint[],
    text[], text[], bigint[], bigint[], bigint[], bigint[],
    text[], uuid[], integer[], bytea[], bytea[],
    text[], uuid[], bigint[], jsonb,
    text[], bigint[], jsonb[]
);

CREATE FUNCTION inventory_commit(
    p_partitions integer[], p_epochs bigint[], p_at timestamptz,
    -- r: new reservations
    r_skus text[], r_ids uuid[], r_warehouses text[], r_units integer[],
    r_customers uuid[], r_drops uuid[], r_expires timestamptz[], r_in_cart boolean[],
    -- e: reservations that ended
    e_skus text[], e_ids uuid[], e_warehouses text[], e_units integer[], e_states smallint[], e_orders text[],
    -- h: holds that last longer
    h_skus text[], h_ids uuid[], h_warehouses text[], h_expires timestamptz[],
    -- t: allocated units that shipped (kind 7) or were given back (kind 8), with the state that this led to
    t_skus text[], t_ids uuid[], t_warehouses text[], t_units integer[], t_kinds smallint[], t_states smallint[],
    -- l: ledger entries; movements are [from, to] in the arrays of r (kind 0), e (kinds 1 to 3), o (4 to 6) or t
    l_skus text[], l_sequences bigint[], l_warehouses text[], l_kinds smallint[], l_units bigint[],
    l_from integer[], l_to integer[], l_notes text[], l_epochs bigint[],
    -- s: stock rows as they are now
    s_skus text[], s_warehouses text[], s_on_hand bigint[], s_reserved bigint[], s_allocated bigint[],
    s_versions bigint[],
    -- o: operations with their first answers; those with a ledger entry of their own come first
    o_skus text[], o_ids uuid[], o_units integer[], o_commands bytea[], o_outcomes bytea[],
    -- d: drops with their counts, and new ones as JSON
    d_skus text[], d_ids uuid[], d_taken bigint[], d_new jsonb,
    -- x: outbox
    x_skus text[], x_sequences bigint[], x_payloads jsonb[]
) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    changed bigint;
    expected integer;
BEGIN
    PERFORM inventory_fence(p_partitions, p_epochs);

    IF cardinality(r_ids) > 0 THEN
        INSERT INTO inventory_reservations
            (sku, reservation_id, warehouse_id, quantity, customer_id, drop_id, expires_at, in_cart)
        SELECT * FROM unnest(r_skus, r_ids, r_warehouses, r_units, r_customers, r_drops, r_expires, r_in_cart);
    END IF;

    IF cardinality(h_ids) > 0 THEN
        UPDATE inventory_reservations r
        SET expires_at = h.expires_at
        FROM unnest(h_skus, h_ids, h_warehouses, h_expires) AS h (sku, reservation_id, warehouse_id, expires_at)
        WHERE r.sku = h.sku AND r.reservation_id = h.reservation_id AND r.warehouse_id = h.warehouse_id
          AND r.state = 0;
        GET DIAGNOSTICS changed = ROW_COUNT;
        PERFORM inventory_expect(changed, cardinality(h_ids), 'extended reservations');
    END IF;

    IF cardinality(e_ids) > 0 THEN
        UPDATE inventory_reservations r
        SET state = e.state, order_reference = e.order_reference
        FROM unnest(e_skus, e_ids, e_warehouses, e_states, e_orders)
            AS e (sku, reservation_id, warehouse_id, state, order_reference)
        WHERE r.sku = e.sku AND r.reservation_id = e.reservation_id AND r.warehouse_id = e.warehouse_id
          AND r.state = 0;
        GET DIAGNOSTICS changed = ROW_COUNT;
        PERFORM inventory_expect(changed, cardinality(e_ids), 'reservations');
    END IF;

    IF cardinality(t_ids) > 0 THEN
        -- Added to what the rows say, not written over it: an owner that remembers too little is refused.
        WITH moved AS (
            SELECT t.sku, t.reservation_id, t.warehouse_id, max(t.state) AS state,
                   coalesce(sum(t.units) FILTER (WHERE t.kind = 7), 0)::smallint AS shipped,
                   coalesce(sum(t.units) FILTER (WHERE t.kind = 8), 0)::smallint AS cancelled
            FROM unnest(t_skus, t_ids, t_warehouses, t_units, t_kinds, t_states)
                AS t (sku, reservation_id, warehouse_id, units, kind, state)
            GROUP BY t.sku, t.reservation_id, t.warehouse_id
        ), updated AS (
            UPDATE inventory_reservations r
            SET shipped = r.shipped + m.shipped, cancelled = r.cancelled + m.cancelled, state = m.state
            FROM moved m
            WHERE r.sku = m.sku AND r.reservation_id = m.reservation_id AND r.warehouse_id = m.warehouse_id
              AND r.state = 1 AND r.shipped + r.cancelled + m.shipped + m.cancelled <= r.quantity
            RETURNING 1
        )
        SELECT (SELECT count(*) FROM updated), (SELECT count(*) FROM moved) INTO changed, expected;
        PERFORM inventory_expect(changed, expected, 'allocations');
    END IF;

    INSERT INTO inventory_ledger
        (sku, sequence, warehouse_id, kind, units, operation_ids, operation_units, note, epoch, at)
    SELECT l.sku, l.sequence, l.warehouse_id, l.kind, l.units,
           CASE WHEN l.kind = 0 THEN r_ids[l.lo:l.hi] WHEN l.kind <= 3 THEN e_ids[l.lo:l.hi]
                WHEN l.kind <= 6 THEN o_ids[l.lo:l.hi] ELSE t_ids[l.lo:l.hi] END,
           CASE WHEN l.kind = 0 THEN r_units[l.lo:l.hi] WHEN l.kind <= 3 THEN e_units[l.lo:l.hi]
                WHEN l.kind <= 6 THEN o_units[l.lo:l.hi] ELSE t_units[l.lo:l.hi] END,
           l.note, l.epoch, p_at
    FROM unnest(l_skus, l_sequences, l_warehouses, l_kinds, l_units, l_from, l_to, l_notes, l_epochs)
        AS l (sku, sequence, warehouse_id, kind, units, lo, hi, note, epoch);

    INSERT INTO inventory_stock AS k (sku, warehouse_id, on_hand, reserved, allocated, version)
    SELECT * FROM unnest(s_skus, s_warehouses, s_on_hand, s_reserved, s_allocated, s_versions)
    ON CONFLICT (sku, warehouse_id) DO UPDATE
    SET on_hand = excluded.on_hand, reserved = excluded.reserved, allocated = excluded.allocated,
        version = excluded.version
    WHERE k.version < excluded.version;
    GET DIAGNOSTICS changed = ROW_COUNT;
    PERFORM inventory_expect(changed, cardinality(s_skus), 'stock rows');

    IF cardinality(o_ids) > 0 THEN
        INSERT INTO inventory_operations (sku, operation_id, command, outcome, at)
        SELECT o.sku, o.operation_id, o.command, o.outcome, p_at
        FROM unnest(o_skus, o_ids, o_commands, o_outcomes) AS o (sku, operation_id, command, outcome);
    END IF;

    IF d_new IS NOT NULL THEN
        INSERT INTO drops (sku, drop_id, starts_at, ends_at, price_minor, currency, quantity, limit_per_customer)
        SELECT n.sku, n.drop_id, n.starts_at, n.ends_at, n.price_minor, n.currency, n.quantity, n.limit_per_customer
        FROM jsonb_populate_recordset(NULL::drops, d_new) AS n;
    END IF;

    IF cardinality(d_ids) > 0 THEN
        UPDATE drops SET taken = d.taken
        FROM unnest(d_skus, d_ids, d_taken) AS d (sku, drop_id, taken)
        WHERE drops.sku = d.sku AND drops.drop_id = d.drop_id;
        GET DIAGNOSTICS changed = ROW_COUNT;
        PERFORM inventory_expect(changed, cardinality(d_ids), 'drops');
    END IF;

    INSERT INTO outbox (sku, sequence, topic, payload, created_at)
    SELECT x.sku, x.sequence, 'inventory.stock_changed', x.payload, p_at
    FROM unnest(x_skus, x_sequences, x_payloads) AS x (sku, sequence, payload);
END
$$;
