-- Catalogue. The distribution column is the top category: it leads every key (docs/decisions/0004-citus-ready-keys.md).
-- SKUs are unique and routed by `skus`, whose row is written in the same transaction as the product's.

CREATE TABLE products (
    top_category   text COLLATE "C" NOT NULL,
    sku            text COLLATE "C" NOT NULL,
    title          text NOT NULL,
    description    text NOT NULL DEFAULT '',
    brand          text NOT NULL DEFAULT '',
    category_path  text[] NOT NULL,
    price_minor    bigint NOT NULL CHECK (price_minor >= 0),
    currency       text COLLATE "C" NOT NULL CHECK (length(currency) = 3),
    attributes     jsonb NOT NULL DEFAULT '{}',
    images         jsonb NOT NULL DEFAULT '[]',
    seller_id      uuid NOT NULL,
    rating         double precision,
    review_count   integer NOT NULL DEFAULT 0,
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (top_category, sku),
    CHECK (category_path[1] = top_category)
);
COMMENT ON COLUMN products.top_category IS
    'First element of category_path. A change of it moves the row: deleted here, inserted there, in one transaction.';
CREATE INDEX products_by_seller ON products (top_category, seller_id, sku);
