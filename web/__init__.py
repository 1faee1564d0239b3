"""The HTTP door: OpenAI's API on one side, the log on the other."""
