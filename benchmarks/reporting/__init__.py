"""The sections of `docs/benchmarks.md`, and the plots beside them: see `benchmarks/report.py`."""
