"""Segnode: an open node between a hospital's MR scanners and its PACS."""

__version__ = "0.1.0"
