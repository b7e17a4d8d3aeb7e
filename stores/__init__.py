"""The state we own: PostgreSQL and Redis, one file a port."""
