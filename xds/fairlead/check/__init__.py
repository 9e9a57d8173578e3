"""Diagnostics: everything that is wrong with a set of objects, before any proxy sees them."""
