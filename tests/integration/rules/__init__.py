"""Tests of rule files on a real disk, followed by watchdog, and on real headers."""
