-- Inventory. The distribution column is the SKU: it leads every key (docs/decisions/0004-citus-ready-keys.md).

CREATE TABLE skus (
    sku           text COLLATE "C" PRIMARY KEY CHECK (length(sku) BETWEEN 1 AND 64),
    top_category  text COLLATE "C" NOT NULL,
    seller_id     uuid NOT NULL,
    partition_id  integer NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE skus IS 'Registry of sellable units: makes SKUs unique and says where each one''s product and owner are.';
COMMENT ON COLUMN skus.partition_id IS 'Home partition (a hash of the SKU), or the pinned one while the SKU has an owner of its own.';
CREATE INDEX skus_pinned ON skus (partition_id) WHERE partition_id >= 1000;

CREATE TABLE inventory_owners (
    owner_id     text COLLATE "C" PRIMARY KEY,
    incarnation  bigint NOT NULL,
    retired      boolean NOT NULL DEFAULT false,
    node         text NOT NULL DEFAULT '',
    pid          integer NOT NULL DEFAULT 0,
    claimed_at   timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN inventory_owners.incarnation IS 'Rises with each replacement of the actor; the actor''s name carries it.';

CREATE TABLE inventory_partitions (
    partition_id  integer PRIMARY KEY,
    owner_id      text COLLATE "C" NOT NULL,
    epoch         bigint NOT NULL DEFAULT 0
);
COMMENT ON COLUMN inventory_partitions.epoch IS 'Fencing number: raised at every activation, checked in every commit.';

CREATE TABLE inventory_stock (
    sku           text COLLATE "C" NOT NULL,
    warehouse_id  text COLLATE "C" NOT NULL,
    on_hand       bigint NOT NULL,
    reserved      bigint NOT NULL,
    allocated     bigint NOT NULL,
    version       bigint NOT NULL,
    PRIMARY KEY (sku, warehouse_id),
    CHECK (reserved >= 0 AND allocated >= 0 AND on_hand >= reserved + allocated)
) WITH (fillfactor = 50);
COMMENT ON COLUMN inventory_stock.version IS 'The ledger entry (sequence) that this row reflects.';

CREATE TABLE inventory_reservations (
    sku              text COLLATE "C" NOT NULL,
    reservation_id   uuid NOT NULL,
    warehouse_id     text COLLATE "C" NOT NULL,
    quantity         integer NOT NULL CHECK (quantity > 0),
    customer_id      uuid NOT NULL,
    drop_id          uuid,
    state            smallint NOT NULL DEFAULT 0,
    expires_at       timestamptz NOT NULL,
    order_reference  text,
    PRIMARY KEY (sku, reservation_id, warehouse_id)
) WITH (fillfactor = 90);
COMMENT ON TABLE inventory_reservations IS 'One row a reservation and warehouse: a split reservation has several.';
COMMENT ON COLUMN inventory_reservations.state IS '0 reserved, 1 allocated, 2 released, 3 expired';

CREATE TABLE inventory_ledger (
    sku              text COLLATE "C" NOT NULL,
    sequence         bigint NOT NULL,
    warehouse_id     text COLLATE "C" NOT NULL,
    kind             smallint NOT NULL,
    units            bigint NOT NULL,
    operation_ids    uuid[] NOT NULL,
    operation_units  integer[] NOT NULL,
    note             text,
    epoch            bigint NOT NULL,
    at               timestamptz NOT NULL,
    PRIMARY KEY (sku, sequence)
);
-- Ids do not compress, and trying to cost a seventh of a commit.
ALTER TABLE inventory_ledger ALTER operation_ids SET STORAGE EXTERNAL, ALTER operation_units SET STORAGE EXTERNAL;
COMMENT ON TABLE inventory_ledger IS
    'Append-only. One entry for all movements of one kind, SKU and warehouse in one commit; operation_ids lists them.';
COMMENT ON COLUMN inventory_ledger.kind IS
    '0 reserve, 1 allocate, 2 release, 3 expire, 4 restock, 5 shrinkage, 6 set aside for a drop';

CREATE TABLE inventory_operations (
    sku           text COLLATE "C" NOT NULL,
    operation_id  uuid NOT NULL,
    command       bytea NOT NULL,
    outcome       bytea NOT NULL,
    at            timestamptz NOT NULL,
    PRIMARY KEY (sku, operation_id)
);
COMMENT ON TABLE inventory_operations IS 'Restocks, shrinkages and drops with their first answers (msgpack), so that a retry repeats them.';

CREATE TABLE drops (
    sku                 text COLLATE "C" NOT NULL,
    drop_id             uuid NOT NULL,
    starts_at           timestamptz NOT NULL,
    ends_at             timestamptz NOT NULL CHECK (ends_at > starts_at),
    price_minor         bigint NOT NULL,
    currency            text NOT NULL,
    quantity            bigint NOT NULL CHECK (quantity > 0),
    taken               bigint NOT NULL DEFAULT 0 CHECK (taken BETWEEN 0 AND quantity),
    limit_per_customer  integer NOT NULL CHECK (limit_per_customer > 0),
    PRIMARY KEY (sku, drop_id)
);
COMMENT ON COLUMN drops.taken IS 'Units of the drop held or allocated now; quantity - taken is what remains.';
CREATE INDEX drops_by_time ON drops (ends_at, starts_at);
CREATE INDEX drops_by_id ON drops (drop_id);

CREATE TABLE outbox (
    sku         text COLLATE "C" NOT NULL,
    sequence    bigint NOT NULL,
    topic       text NOT NULL,
    payload     jsonb NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (sku, sequence, topic)
);
COMMENT ON TABLE outbox IS 'What others must hear about, written in the same transaction as the change.';
