"""Protocols with their promises written on them; adapters keep them."""
