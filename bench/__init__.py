"""Measurements: `make bench`. See bench/README.md."""
