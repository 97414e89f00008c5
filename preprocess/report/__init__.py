"""Report on a run of the pipeline: kept and rejected clips, reasons, metrics and examples."""
