"""Serve is imported here, once: its own modules warn of things of theirs, which warnings as errors would refuse."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import ray.serve.schema  # noqa: F401
