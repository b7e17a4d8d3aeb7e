"""The owners: plain classes that are tested without Ray, and one module that makes Ray actors of them."""
