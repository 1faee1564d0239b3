"""The commands that people run beside a worker: ``faust -A app <command>``."""
