"""Rebuilds scores and windows with the present formula, beside the live ones."""
