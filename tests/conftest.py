"""Fixtures for the whole suite."""

pytest_plugins = ["tests.services.fixtures", "tests.side_by_side"]
