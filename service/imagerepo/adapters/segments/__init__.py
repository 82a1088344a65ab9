"""Embedded storage: append-only segments and the SQLite index projected from them."""
