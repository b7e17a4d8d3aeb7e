-- The last word of each audit, whoever ran it: alerts rest on it.

CREATE TABLE audit_verdicts (
    subject        text COLLATE "C" PRIMARY KEY,
    at             timestamptz NOT NULL,
    checked        bigint NOT NULL,
    discrepancies  bigint NOT NULL
);
COMMENT ON TABLE audit_verdicts IS 'By what was audited: stock or money, the whole of it. "checked" counts SKUs or orders.';
