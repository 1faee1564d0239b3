"""The results of a replay: pair by pair and in total, for terminals, programs and people."""
