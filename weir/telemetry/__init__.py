"""The operator's view of a worker: metrics, traces, lag, logs."""
