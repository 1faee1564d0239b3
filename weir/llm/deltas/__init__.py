"""Deltas of chunks in one shape, whatever shape their server gave them."""
