"""The systems that we do not own: payment providers."""
