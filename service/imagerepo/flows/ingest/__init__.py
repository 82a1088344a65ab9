"""Receive, validate, identify, store, index, journal, acknowledge."""
