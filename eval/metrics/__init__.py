"""One metric a file; `registry` finds every module here that holds METRIC or METRICS, so a new file is a new metric."""
