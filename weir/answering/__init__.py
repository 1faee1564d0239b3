"""Answers requests: looks for an answer in the log, claims the request by a mark, calls the LLM, writes the rest."""
