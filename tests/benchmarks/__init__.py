"""Tables of figures; nothing here asserts a time."""
