"""The Kubernetes Gateway API's Gateways and HTTPRoutes, in the words of all dialects."""
