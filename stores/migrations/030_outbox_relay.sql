-- The outboxes are read in the order of their rows' positions (docs/decisions/0017-the-outbox-relay.md). A row gets its
-- position inside its transaction; as an owner begins a key's next commit only when the one before has ended, positions
-- of one key rise as its versions do. Between keys they say nothing, and nobody relies on it.
--
-- Rows live for seconds, so both tables are vacuumed by number of dead rows and without pausing.

ALTER TABLE outbox RENAME TO outbox_unread;
ALTER TABLE outbox_unread RENAME CONSTRAINT outbox_pkey TO outbox_unread_pkey;
CREATE TABLE outbox (
    position    bigint GENERATED ALWAYS AS IDENTITY,
    sku         text COLLATE "C" NOT NULL,
    sequence    bigint NOT NULL,
    topic       text NOT NULL,
    payload     jsonb NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (position, sku)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0);
COMMENT ON TABLE outbox IS
    'What others must hear about, written in the same transaction as the change, removed once the stream has it.';
COMMENT ON COLUMN outbox.position IS 'The order of one SKU''s rows. Rows may appear behind positions already read.';
INSERT INTO outbox (sku, sequence, topic, payload, created_at)
SELECT sku, sequence, topic, payload, created_at FROM outbox_unread ORDER BY sku, sequence, topic;
DROP TABLE outbox_unread;

ALTER TABLE order_outbox RENAME TO order_outbox_unread;
ALTER TABLE order_outbox_unread RENAME CONSTRAINT order_outbox_pkey TO order_outbox_unread_pkey;
CREATE TABLE order_outbox (
    position    bigint GENERATED ALWAYS AS IDENTITY,
    order_id    uuid NOT NULL,
    version     integer NOT NULL,
    topic       text COLLATE "C" NOT NULL,
    payload     jsonb NOT NULL,
    created_at  timestamptz NOT NULL,
    PRIMARY KEY (position, order_id)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0);
COMMENT ON TABLE order_outbox IS
    'What others must hear about, written in the same transaction as the change, removed once the stream has it.';
COMMENT ON COLUMN order_outbox.position IS 'The order of one order''s rows. Rows may appear behind positions already read.';
INSERT INTO order_outbox (order_id, version, topic, payload, created_at)
SELECT order_id, version, topic, payload, created_at FROM order_outbox_unread ORDER BY order_id, version, topic;
DROP TABLE order_outbox_unread;
