"""Brings the deltas of chunks into one shape, whatever shape their server gave them."""
