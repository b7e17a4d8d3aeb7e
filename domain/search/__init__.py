"""What search means here, apart from any engine: text as tokens, queries, spelling, ranking. Pure."""
