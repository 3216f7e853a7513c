"""DBOS workflows and nothing else: the only room that imports dbos."""
