"""What an operator sees: metrics, traces, lag, logs."""
