"""Rebuilds each table from its topics, in memory, with the code of its agent: one partition at a time."""
