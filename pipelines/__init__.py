"""Ray batch jobs."""
