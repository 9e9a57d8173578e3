"""Limits as the configuration of https://github.com/envoyproxy/ratelimit, for those who run that service."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from fairlead.intent import CountedDescriptor, RateLimitDomain

_UNITS = {1: "second", 60: "minute", 3600: "hour", 86_400: "day"}
"""Seconds -> the service's word."""
Entry = tuple[str, str]


@dataclass
class _Node:
    """Descriptors that begin alike are one, with what follows nested in it."""

    limit: CountedDescriptor | None = None
    nested: dict[Entry, "_Node"] = field(default_factory=dict)


def rate_limit_configuration(domain: RateLimitDomain) -> str:
    """The YAML file of a domain, of which the service takes one only."""
    root = _Node()
    for descriptor in domain.descriptors:
        node = root
        for entry in descriptor.entries:
            node = node.nested.setdefault(entry, _Node())
        node.limit = descriptor
    return "\n".join((f"domain: {_text(domain.name)}", "descriptors:", *_lines(root, ""), ""))


def _lines(node: _Node, indent: str) -> Iterator[str]:
    for (key, value), inner in node.nested.items():
        yield f"{indent}- key: {_text(key)}"
        if value:
            yield f"{indent}  value: {_text(value)}"
        if inner.limit is not None:
            yield f"{indent}  rate_limit:"
            yield f"{indent}    unit: {_UNITS[inner.limit.window]}"
            yield f"{indent}    requests_per_unit: {inner.limit.quota}"
        if inner.nested:
            yield f"{indent}  descriptors:"
            yield from _lines(inner, f"{indent}  ")


def _text(text: str) -> str:
    return json.dumps(text)  # which YAML reads as it is meant, whatever is in it
