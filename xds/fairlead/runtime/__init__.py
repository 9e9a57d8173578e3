"""Services that proxies call while they serve requests."""
