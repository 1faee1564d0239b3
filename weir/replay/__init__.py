"""Topics as a time machine: requests, feedback and dead letters, taken out of the log and processed again."""
