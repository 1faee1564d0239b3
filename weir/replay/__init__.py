"""Replays topics: requests, feedback and dead letters are read from the log and processed again."""
