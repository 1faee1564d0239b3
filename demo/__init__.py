"""The demo model: an OpenAI-compatible server with made-up, deterministic answers, for `make run` and for tests.

It stands alone, as any LLM server does: nothing here imports the rest of the project, and the project knows
of it only what it knows of any upstream, a URL.
"""
