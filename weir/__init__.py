"""Durable LLM streams: what Weir does, by capability. `app` builds the worker from it."""
