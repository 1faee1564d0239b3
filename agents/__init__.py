"""Agents, the consumers of topics: each is a decorator, a loop and a call; the logic is in the modules beside it."""
