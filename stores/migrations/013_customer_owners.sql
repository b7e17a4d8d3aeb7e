-- Owners of carts and of checkouts. Few rows, read by every replica: a reference table where the database is sharded.

CREATE TABLE customer_owners (
    owner_id     text COLLATE "C" PRIMARY KEY,
    incarnation  bigint NOT NULL,
    epoch        bigint NOT NULL DEFAULT 0,
    retired      boolean NOT NULL DEFAULT false,
    node         text NOT NULL DEFAULT '',
    pid          integer NOT NULL DEFAULT 0,
    claimed_at   timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN customer_owners.incarnation IS 'Rises with each replacement of the actor; the actor''s name carries it.';
COMMENT ON COLUMN customer_owners.epoch IS
    'Fencing number of a checkout owner: raised at every claim, checked in every commit. Carts fence themselves.';
