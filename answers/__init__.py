"""The answer as a log: what is written to chat-chunks, and the one pure function that reads it. No I/O here."""
