"""Kinds of Istio's API, one module per kind; field by field as in the reference documentation on istio.io."""
