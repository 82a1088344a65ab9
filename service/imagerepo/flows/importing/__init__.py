"""Import files: find, gather by series, store, note."""
