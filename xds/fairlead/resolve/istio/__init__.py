"""Istio's Gateways and VirtualServices, in the words of all dialects."""
