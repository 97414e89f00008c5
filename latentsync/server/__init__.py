"""The service: an HTTP API for lip-sync jobs. `python -m latentsync.server` starts it."""
