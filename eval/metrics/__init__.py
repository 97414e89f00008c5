"""One module per metric. Every module here that defines METRIC or METRICS is found by `metric.all_metrics`."""
