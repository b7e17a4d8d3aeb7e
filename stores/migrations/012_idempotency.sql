-- Idempotency keys. The distribution column is the caller: it leads the key.

CREATE TABLE idempotency_keys (
    caller_id    uuid NOT NULL,
    key          text COLLATE "C" NOT NULL CHECK (length(key) BETWEEN 1 AND 128),
    operation    text COLLATE "C" NOT NULL,
    fingerprint  bytea NOT NULL,
    sku          text COLLATE "C",
    attempts     integer NOT NULL DEFAULT 1,
    status       integer,
    response     jsonb,
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (caller_id, key)
);
COMMENT ON TABLE idempotency_keys IS
    'What a caller used a key for. Inventory''s answers are kept by inventory itself; others are kept here.';
COMMENT ON COLUMN idempotency_keys.sku IS 'Where inventory would have recorded the operation; null for other mutations.';
COMMENT ON COLUMN idempotency_keys.attempts IS
    'Rises with each repetition, so that a late clean-up of a refused attempt never removes a newer one''s claim.';
COMMENT ON COLUMN idempotency_keys.status IS 'Null while inventory, or the transaction in flight, holds the answer.';
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);
