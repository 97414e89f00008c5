"""The report on a run of the pipeline: what was kept, what was not, and why."""
