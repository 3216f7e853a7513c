"""Tests of the room `rules`: pure, no disk beyond the default rule file."""
