"""Durable LLM streams: the library, by capability. `app` builds the worker from it."""
