"""A report about one accelerator: ``python -m benchmarks.gpu_report``."""
