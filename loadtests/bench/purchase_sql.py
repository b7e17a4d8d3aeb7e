"""The statements of the baseline that sells: each is a round trip and a commit, a hot row is locked once a purchase.

Stock counts what is for sale; a hold takes from it, and stays the line of the order that pays for it. The tables hold
what the baseline needs and no more: no events, no outbox, no ledger.
"""

TABLES = """
DROP TABLE IF EXISTS purchase_orders, purchase_holds, purchase_stock;
CREATE TABLE purchase_stock (
    sku text PRIMARY KEY, title text NOT NULL, price_minor bigint NOT NULL, currency text NOT NULL,
    available bigint NOT NULL CHECK (available >= 0)
) WITH (fillfactor = 50);
CREATE TABLE purchase_holds (
    hold_id uuid PRIMARY KEY, customer_id uuid NOT NULL, sku text NOT NULL, title text NOT NULL,
    quantity integer NOT NULL, price_minor bigint NOT NULL, currency text NOT NULL,
    expires_at timestamptz NOT NULL, order_id uuid
);
CREATE UNIQUE INDEX purchase_carts ON purchase_holds (customer_id, sku) WHERE order_id IS NULL;
CREATE TABLE purchase_orders (
    order_id uuid PRIMARY KEY, customer_id uuid NOT NULL, idempotency_key text NOT NULL, state text NOT NULL,
    total_minor bigint NOT NULL, currency text NOT NULL, lines jsonb NOT NULL, address jsonb NOT NULL,
    reference text NOT NULL DEFAULT '', created_at timestamptz NOT NULL, UNIQUE (customer_id, idempotency_key)
) WITH (fillfactor = 80);
"""

SET_ITEM = """
WITH held AS (
    SELECT quantity FROM purchase_holds
    WHERE customer_id = %(customer_id)s::uuid AND sku = %(sku)s AND order_id IS NULL
    FOR UPDATE
), wanted AS (
    SELECT %(quantity)s::integer - coalesce((SELECT quantity FROM held), 0) AS more
), taken AS (
    UPDATE purchase_stock SET available = available - (SELECT more FROM wanted)
    WHERE sku = %(sku)s AND available >= (SELECT more FROM wanted)
    RETURNING title, price_minor, currency
), line AS (
    INSERT INTO purchase_holds (hold_id, customer_id, sku, title, quantity, price_minor, currency, expires_at)
    SELECT %(hold_id)s::uuid, %(customer_id)s::uuid, %(sku)s::text, title, %(quantity)s::integer, price_minor,
        currency, %(expires_at)s::timestamptz
    FROM taken
    ON CONFLICT (customer_id, sku) WHERE order_id IS NULL
    DO UPDATE SET quantity = EXCLUDED.quantity, expires_at = EXCLUDED.expires_at
    RETURNING sku, title, quantity, price_minor, currency, hold_id, expires_at
)
SELECT * FROM line
UNION ALL
SELECT sku, title, quantity, price_minor, currency, hold_id, expires_at FROM purchase_holds
WHERE customer_id = %(customer_id)s::uuid AND order_id IS NULL AND sku <> %(sku)s
"""
"""Hold what more is wanted, or give back what less, and return the whole cart; without the line when it is sold out."""

OPEN_ORDER = """
WITH lines AS (
    SELECT hold_id, sku, title, quantity, price_minor, currency FROM purchase_holds
    WHERE customer_id = %(customer_id)s::uuid AND order_id IS NULL AND expires_at > %(lasts_until)s
), cart AS (
    SELECT sum(quantity * price_minor) AS total_minor, min(currency) AS currency, jsonb_agg(to_jsonb(lines)) AS lines
    FROM lines HAVING count(*) > 0
)
INSERT INTO purchase_orders
    (order_id, customer_id, idempotency_key, state, total_minor, currency, lines, address, created_at)
SELECT %(order_id)s::uuid, %(customer_id)s::uuid, %(key)s::text, 'pending', total_minor, currency, lines,
    %(address)s::jsonb, %(now)s::timestamptz
FROM cart
ON CONFLICT (customer_id, idempotency_key) DO NOTHING
RETURNING total_minor, currency, lines
"""
"""Write the order down before the provider is asked; nothing comes back for an empty cart or a key used before."""

FIND_ORDER = """
SELECT order_id, state, total_minor, currency, lines, created_at FROM purchase_orders
WHERE customer_id = %(customer_id)s::uuid AND idempotency_key = %(key)s
"""
ALLOCATE = """
UPDATE purchase_holds SET order_id = %(order_id)s::uuid
WHERE hold_id = ANY(%(holds)s::uuid[]) AND order_id IS NULL AND expires_at > %(now)s::timestamptz
"""
"""Owe the held units to the order, before its money is taken; touches fewer rows when a hold is gone."""

CONFIRM = (
    "UPDATE purchase_orders SET state = 'confirmed', reference = %(reference)s WHERE order_id = %(order_id)s::uuid"
)

FAIL = """
WITH gone AS (
    DELETE FROM purchase_holds
    WHERE hold_id = ANY(%(holds)s::uuid[]) AND coalesce(order_id, %(order_id)s::uuid) = %(order_id)s::uuid
    RETURNING sku, quantity
), back AS (
    UPDATE purchase_stock SET available = available + gone.quantity FROM gone WHERE purchase_stock.sku = gone.sku
)
UPDATE purchase_orders SET state = 'failed' WHERE order_id = %(order_id)s::uuid
"""
"""Give everything back: declined, or a hold was gone."""
