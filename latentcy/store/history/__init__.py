"""The history: every run's numbers in a database, SQLite or PostgreSQL. Imports without torch."""
