"""Replays requests: each is sent again as a new one, and compared with its original answer."""
