"""The demo model: an OpenAI-compatible server with made-up, deterministic answers, for `make run` and for tests.

It stands alone, as any LLM server does: no module of it imports the rest of the project, and the project uses it like
any upstream, by its URL.
"""
