-- Orders. The distribution column is the order: it leads every key (docs/decisions/0004-citus-ready-keys.md).
-- Owners are fenced by `customer_owners`.

CREATE SEQUENCE order_numbers;

CREATE TABLE orders (
    order_id      uuid PRIMARY KEY,
    customer_id   uuid NOT NULL,
    order_number  text COLLATE "C" NOT NULL,
    state         text COLLATE "C" NOT NULL,
    version       integer NOT NULL,
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL,
    view          jsonb NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE orders IS 'The read model: each order as its events have left it. No index has a column that changes, so updates stay in their page.';
COMMENT ON COLUMN orders.version IS 'The event that this row reflects.';
CREATE INDEX orders_by_customer ON orders (customer_id, created_at DESC, order_id DESC);
CREATE INDEX orders_by_time ON orders (created_at DESC, order_id DESC);
CREATE INDEX orders_by_number ON orders (order_number);

CREATE TABLE open_orders (
    order_id       uuid PRIMARY KEY,
    partition_id   smallint NOT NULL,
    created_at     timestamptz NOT NULL,
    progressed_at  timestamptz NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);
COMMENT ON TABLE open_orders IS 'Orders with something left to do: few, and gone from here when it is done.';
COMMENT ON COLUMN open_orders.partition_id IS 'Says whose the order is: the owner of slot s of n has the partitions that leave s when divided by n.';

CREATE TABLE order_events (
    order_id  uuid NOT NULL,
    version   integer NOT NULL CHECK (version > 0),
    at        timestamptz NOT NULL,
    payload   jsonb NOT NULL,
    PRIMARY KEY (order_id, version)
);
COMMENT ON TABLE order_events IS 'Append-only, without gaps: what an order is. The payload''s "type" names the event.';

CREATE TABLE money_postings (
    order_id      uuid NOT NULL,
    version       integer NOT NULL,
    line          smallint NOT NULL,
    account       text COLLATE "C" NOT NULL,
    amount_minor  bigint NOT NULL CHECK (amount_minor <> 0),
    currency      text COLLATE "C" NOT NULL CHECK (length(currency) = 3),
    provider      text COLLATE "C" NOT NULL,
    payment_key   text COLLATE "C" NOT NULL,
    PRIMARY KEY (order_id, version, line)
);
COMMENT ON TABLE money_postings IS
    'Double entry, append-only: debits are positive, credits negative, and the lines of one order''s version sum to zero.';

CREATE TABLE order_outbox (
    order_id    uuid NOT NULL,
    version     integer NOT NULL,
    topic       text COLLATE "C" NOT NULL,
    payload     jsonb NOT NULL,
    created_at  timestamptz NOT NULL,
    PRIMARY KEY (order_id, version, topic)
);
COMMENT ON TABLE order_outbox IS 'What others must hear about, written in the same transaction as the change.';

CREATE FUNCTION orders_fence(p_owner text, p_epoch bigint) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM customer_owners WHERE owner_id = p_owner AND epoch = p_epoch FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'another owner has taken these orders' USING ERRCODE = 'DB001';
    END IF;
END
$$;

-- One call a commit, as for inventory: the fence, and everything that a group of orders changed.
CREATE FUNCTION orders_commit(
    p_owner text, p_epoch bigint, p_at timestamptz,
    -- n: new orders
    n_ids uuid[], n_customers uuid[], n_numbers text[], n_states text[], n_versions integer[], n_created timestamptz[],
    n_views jsonb[],
    -- o: orders that change, and the version that each is changed from
    o_ids uuid[], o_previous integer[], o_states text[], o_versions integer[], o_views jsonb[],
    -- w: orders with something left to do; d: those that are done
    w_ids uuid[], w_partitions smallint[], w_created timestamptz[], d_ids uuid[],
    -- e: events
    e_ids uuid[], e_versions integer[], e_at timestamptz[], e_payloads jsonb[],
    -- m: movements of money
    m_ids uuid[], m_versions integer[], m_lines smallint[], m_accounts text[], m_amounts bigint[], m_currencies text[],
    m_providers text[], m_keys text[],
    -- x: outbox
    x_ids uuid[], x_versions integer[], x_payloads jsonb[]
) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    changed bigint;
BEGIN
    PERFORM orders_fence(p_owner, p_epoch);

    IF cardinality(n_ids) > 0 THEN
        INSERT INTO orders (order_id, customer_id, order_number, state, version, created_at, updated_at, view)
        SELECT n.id, n.customer, n.number, n.state, n.version, n.created, p_at, n.view
        FROM unnest(n_ids, n_customers, n_numbers, n_states, n_versions, n_created, n_views)
            AS n (id, customer, number, state, version, created, view);
    END IF;

    IF cardinality(o_ids) > 0 THEN
        UPDATE orders
        SET state = o.state, version = o.version, updated_at = p_at, view = o.view
        FROM unnest(o_ids, o_previous, o_states, o_versions, o_views) AS o (id, previous, state, version, view)
        WHERE orders.order_id = o.id AND orders.version = o.previous;
        GET DIAGNOSTICS changed = ROW_COUNT;
        IF changed <> cardinality(o_ids) THEN
            RAISE EXCEPTION '% of % orders changed', changed, cardinality(o_ids) USING ERRCODE = 'DB002';
        END IF;
    END IF;

    IF cardinality(d_ids) > 0 THEN
        DELETE FROM open_orders USING unnest(d_ids) AS d (id) WHERE open_orders.order_id = d.id;
    END IF;

    IF cardinality(w_ids) > 0 THEN
        INSERT INTO open_orders (order_id, partition_id, created_at, progressed_at)
        SELECT w.*, p_at FROM unnest(w_ids, w_partitions, w_created) AS w
        ON CONFLICT (order_id) DO UPDATE SET progressed_at = excluded.progressed_at;
    END IF;

    INSERT INTO order_events (order_id, version, at, payload)
    SELECT * FROM unnest(e_ids, e_versions, e_at, e_payloads);

    IF cardinality(m_ids) > 0 THEN
        INSERT INTO money_postings (order_id, version, line, account, amount_minor, currency, provider, payment_key)
        SELECT * FROM unnest(m_ids, m_versions, m_lines, m_accounts, m_amounts, m_currencies, m_providers, m_keys);
    END IF;

    INSERT INTO order_outbox (order_id, version, topic, payload, created_at)
    SELECT x.id, x.version, 'order.changed', x.payload, p_at
    FROM unnest(x_ids, x_versions, x_payloads) AS x (id, version, payload);
END
$$;
