"""Spool (bytes on disk) and ledger (all SQL): what was received, decided, done and delivered."""
