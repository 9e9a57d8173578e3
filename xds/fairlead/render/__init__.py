"""From intent to Envoy's messages: plain functions, each message encoded once and deterministically.

What Envoy is told about everything (defaults that are those of Istio's proxies, who discovers what from where) is here;
what a user's objects ask for is in `fairlead.intent`.
"""
