"""What people run beside a worker: ``faust -A app <command>``."""
