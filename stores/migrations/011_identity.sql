-- Identity. The distribution column is the user: it leads every key but the registry's, which makes e-mails unique.

CREATE TABLE user_emails (
    email    text COLLATE "C" PRIMARY KEY CHECK (length(email) BETWEEN 3 AND 254),
    user_id  uuid NOT NULL
);
COMMENT ON TABLE user_emails IS 'Registry: one user an address (lower case), and where to find that user.';

CREATE TABLE users (
    user_id        uuid PRIMARY KEY,
    email          text NOT NULL,
    name           text NOT NULL,
    role           text COLLATE "C" NOT NULL CHECK (role IN ('shopper', 'seller', 'operator')),
    password_hash  text NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX users_operators ON users (user_id) WHERE role = 'operator';
