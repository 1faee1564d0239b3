"""Answers requests: looks for what the log has of an answer, marks, calls the LLM, writes the rest."""
