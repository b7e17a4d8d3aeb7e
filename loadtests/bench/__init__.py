"""Benchmarks: Doorbuster and baselines, run alternately on the same machine with the same client."""
