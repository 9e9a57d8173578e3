"""What is known of a request, as labels, and conditions of these.

The labels are those of FluxNinja Aperture, after which ASM's policies are made: `http.method`, `http.target`,
`http.path`, `http.host`, `http.scheme`, `http.request_content_length`, `http.flavor`, `http.request.header.<name>` with
underscores in place of hyphens, and the members of the header `baggage` (https://www.w3.org/TR/baggage), which go
before the others.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

import re2

from fairlead._pb.envoy.service.auth.v3.attribute_context_pb2 import AttributeContext
from fairlead.intent import LabelCondition, LabelConditionKind, header_label

Labels = Mapping[str, str]
Holds = Callable[[Labels], bool]

_FLAVORS = {"HTTP/1.0": "1.0", "HTTP/1.1": "1.1", "HTTP/2": "2.0", "HTTP/3": "3.0"}


def labels_of(request: AttributeContext.HttpRequest) -> dict[str, str]:
    """The labels of a request, as Envoy describes it."""
    path = request.path
    found = {
        "http.method": request.method,
        "http.target": path,
        "http.path": path.partition("?")[0],
        "http.host": request.host,
        "http.scheme": request.scheme,
        "http.request_content_length": str(request.size),
        "http.flavor": _FLAVORS.get(request.protocol, request.protocol),
    }
    headers = dict(request.headers)
    # Of headers with the same label the one with hyphens counts: what a gateway sets is not undone by who adds one.
    for name, value in sorted(headers.items(), key=_has_underscore, reverse=True):
        if not name.startswith(":"):
            found[header_label(name)] = value
    if baggage := headers.get("baggage"):
        found.update(_members(baggage))
    return found


def _has_underscore(header: tuple[str, str]) -> bool:
    return "_" in header[0]


def _members(baggage: str) -> dict[str, str]:
    pairs = (member.partition(";")[0].partition("=") for member in baggage.split(","))
    return {name.strip(): unquote(value.strip()) for name, equals, value in pairs if equals and name.strip()}


def compiled(condition: LabelCondition) -> Holds:
    """A condition as a function."""
    label, values = condition.label, condition.values
    match condition.kind:
        case LabelConditionKind.EXISTS:
            return lambda labels: label in labels
        case LabelConditionKind.IN:
            return lambda labels: labels.get(label) in values
        case LabelConditionKind.MATCHES:
            pattern = _pattern(values[0])
            return lambda labels: label in labels and pattern.search(labels[label]) is not None
    of = tuple(map(compiled, condition.of))
    match condition.kind:
        case LabelConditionKind.NOT:
            return lambda labels: not of[0](labels)
        case LabelConditionKind.ANY:
            return lambda labels: any(holds(labels) for holds in of)
    if len(of) == 1:
        return of[0]
    return lambda labels: all(holds(labels) for holds in of)


@lru_cache(maxsize=1000)
def _pattern(text: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    return re2.compile(text, options)
