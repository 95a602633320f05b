"""Benchmarks that measure the claims of the README: `python -m benchmarks`."""
