"""Training and evaluation of bundles; empty until the first network is trained."""
