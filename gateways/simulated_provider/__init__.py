"""A payment provider that moves no money: a server of its own, with storage of its own, that can be told to fail."""
