"""Metrics, curves, statistics. Never imported at run time."""
