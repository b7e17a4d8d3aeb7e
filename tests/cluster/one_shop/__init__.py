"""One shop for all faults that it has to survive one after the other: a start takes most of a minute."""
