"""One send of objects to one destination and what its answers mean; no loops, no waiting."""
