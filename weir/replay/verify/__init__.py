"""Verifies tables: rebuilds them from their topics, beside the live ones."""
