"""The index in SQL: one schema, one set of migrations; SQLite now, PostgreSQL where that is outgrown."""
