"""Business rules as pure functions and plain values: no clock, network, Ray or randomness."""
