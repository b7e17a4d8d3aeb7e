-- One call a commit: the fence, and everything a group of decisions changed. Arrays of one prefix are columns of
-- one relation. A statement that touches fewer rows than it was told to raises, and nothing is written.

CREATE FUNCTION inventory_fence(p_partitions integer[], p_epochs bigint[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    held integer;
BEGIN
    SELECT count(*) INTO held FROM (
        SELECT 1
        FROM inventory_partitions p
        JOIN unnest(p_partitions, p_epochs) AS f (partition_id, epoch) USING (partition_id, epoch)
        ORDER BY p.partition_id
        FOR SHARE OF p
    ) AS locked;
    IF held <> cardinality(p_partitions) THEN
        RAISE EXCEPTION 'another owner has taken a partition' USING ERRCODE = 'DB001';
    END IF;
END
$$;

CREATE FUNCTION inventory_expect(p_changed bigint, p_expected integer, p_what text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF p_changed <> p_expected THEN
        RAISE EXCEPTION '% of % % changed', p_changed, p_expected, p_what USING ERRCODE = 'DB002';
    END IF;
END
$$;

CREATE FUNCTION inventory_commit(
    p_partitions integer[], p_epochs bigint[], p_at timestamptz,
    -- r: new reservations
    r_skus text[], r_ids uuid[], r_warehouses text[], r_units integer[],
    r_customers uuid[], r_drops uuid[], r_expires timestamptz[],
    -- e: reservations that ended
    e_skus text[], e_ids uuid[], e_warehouses text[], e_units integer[], e_states smallint[], e_orders text[],
    -- l: ledger entries; movements are [from, to] in the arrays of r (kind 0), e (kinds 1 to 3) or o
    l_skus text[], l_sequences bigint[], l_warehouses text[], l_kinds smallint[], l_units bigint[],
    l_from integer[], l_to integer[], l_notes text[], l_epochs bigint[],
    -- s: stock rows as they are now
    s_skus text[], s_warehouses text[], s_on_hand bigint[], s_reserved bigint[], s_allocated bigint[],
    s_versions bigint[],
    -- o: operations with their first answers
    o_skus text[], o_ids uuid[], o_units integer[], o_commands bytea[], o_outcomes bytea[],
    -- d: drops with their counts, and new ones as JSON
    d_skus text[], d_ids uuid[], d_taken bigint[], d_new jsonb,
    -- x: outbox
    x_skus text[], x_sequences bigint[], x_payloads jsonb[]
) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    changed bigint;
BEGIN
    PERFORM inventory_fence(p_partitions, p_epochs);

    IF cardinality(r_ids) > 0 THEN
        INSERT INTO inventory_reservations
            (sku, reservation_id, warehouse_id, quantity, customer_id, drop_id, expires_at)
        SELECT * FROM unnest(r_skus, r_ids, r_warehouses, r_units, r_customers, r_drops, r_expires);
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

    INSERT INTO inventory_ledger
        (sku, sequence, warehouse_id, kind, units, operation_ids, operation_units, note, epoch, at)
    SELECT l.sku, l.sequence, l.warehouse_id, l.kind, l.units,
           CASE WHEN l.kind = 0 THEN r_ids[l.lo:l.hi] WHEN l.kind <= 3 THEN e_ids[l.lo:l.hi] ELSE o_ids[l.lo:l.hi] END,
           CASE WHEN l.kind = 0 THEN r_units[l.lo:l.hi] WHEN l.kind <= 3 THEN e_units[l.lo:l.hi]
                ELSE o_units[l.lo:l.hi] END,
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
        SELECT o.*, p_at FROM unnest(o_skus, o_ids, o_commands, o_outcomes) AS o;
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
