"""The LLM behind an OpenAI-compatible API: ask it, read its stream. Free of Faust and of brokers."""
