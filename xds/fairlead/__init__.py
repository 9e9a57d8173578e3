"""Fairlead: a control plane for stock Envoy proxies."""
