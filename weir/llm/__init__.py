"""Calls the LLM behind an OpenAI-compatible API and reads its stream. Independent of Faust and of brokers."""
