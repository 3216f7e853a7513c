"""Grouping, evidence and completion: when a study is all here, and what then begins."""
