"""Ids, frozen values, states, reasons, errors and the clock: what every room may know."""
