"""What the running node says of itself: metrics and logs, both without patient data."""
