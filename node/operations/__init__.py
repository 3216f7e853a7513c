"""Watching over the node: checks for the administrator and numbers for the scrape."""
