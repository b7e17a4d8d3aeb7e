-- What operators wish for: which owners of home partitions there are to be, and what is to be elsewhere than its hash
-- says. Small tables that the supervisor reads in each round and carries out (docs/decisions/0021-owners-come-and-go.md).

CREATE TABLE wanted_owners (
    owner_id   text COLLATE "C" PRIMARY KEY,
    state      text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'draining')),
    wished_at  timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN wanted_owners.state IS 'active: partitions are spread over it; draining: it hands over all and ends';

CREATE TABLE partition_overrides (
    partition_id  integer PRIMARY KEY CHECK (partition_id BETWEEN 0 AND 999),
    owner_id      text COLLATE "C" NOT NULL,
    by_load       boolean NOT NULL,
    moved_at      timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE partition_overrides IS 'Home partitions that an operator (or their load) has moved away from the owner of their hash.';
