"""Scores and windows by today's formula, beside the live ones."""
