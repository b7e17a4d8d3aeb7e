"""Load: a rehearsed flash sale, the check of every answer in it, and benchmarks against the usual designs.

Everything here speaks HTTP to a shop that is already running; nothing reaches into it.
"""
