"""A difference as text for a person in a hurry: requests and connections first, then the resources."""

import json
from collections.abc import Iterator
from typing import Any

from fairlead.comparison.values import Difference, DrainedListener, FieldChange, ProxyDifference, ResourceChange
from fairlead.status import ProblemStatus, one_line

_MOST_REQUESTS = 20
_MOST_FIELDS = 20
_MOST_RESOURCES = 50
_WIDTH = 120
"""Characters of a value; of more, the beginning is shown."""


def as_text(difference: Difference) -> str:
    """The difference, in lines."""
    return "\n".join(_lines(difference)) + "\n"


def _lines(difference: Difference) -> Iterator[str]:
    if difference.empty:
        yield "no difference"
    for proxy in difference.proxies:
        yield from _proxy(proxy)
    if difference.unchanged and difference.proxies:
        yield f"{difference.unchanged} other kinds of proxies: no difference"
    if difference.services:
        yield "runtime services"
    for resource in difference.services[:_MOST_RESOURCES]:
        yield from _resource(resource)
    if len(difference.services) > _MOST_RESOURCES:
        yield f"  and {len(difference.services) - _MOST_RESOURCES} more objects"
    for title, problems in (("appear", difference.appeared), ("vanish", difference.vanished)):
        if problems:
            yield f"problems that {title}"
            for problem in problems:
                yield f"  {_problem(problem)}"


def _proxy(proxy: ProxyDifference) -> Iterator[str]:
    yield f"proxy {proxy.proxy}"
    for request in proxy.requests[:_MOST_REQUESTS]:
        yield f"  {request.request}" + (f", and {request.others} more like it" if request.others else "")
        yield f"    - {request.old}"
        yield f"    + {request.new}"
    if len(proxy.requests) > _MOST_REQUESTS:
        yield f"  and {len(proxy.requests) - _MOST_REQUESTS} more kinds of requests end elsewhere"
    if not proxy.requests:
        yield "  no request that was tried ends elsewhere"
    if proxy.untried:
        yield f"  not tried: {proxy.untried} routes for which no request could be thought out"
    for drained in proxy.drains:
        yield f"  {_drain(drained)}"
    if not proxy.drains:
        yield "  no connection of clients is drained"
    for resource in proxy.resources[:_MOST_RESOURCES]:
        yield from _resource(resource)
    if len(proxy.resources) > _MOST_RESOURCES:
        yield f"  and {len(proxy.resources) - _MOST_RESOURCES} more resources"


def _drain(drained: DrainedListener) -> str:
    if drained.whole:
        return f"listener {drained.listener} drains all its connections: {', '.join(drained.why)}"
    return f"listener {drained.listener} drains connections of {', '.join(drained.why)}, and no others"


def _resource(resource: ResourceChange) -> Iterator[str]:
    yield f"  {resource.change} {resource.type} {resource.name}"
    for field in resource.fields[:_MOST_FIELDS]:
        yield f"    {_field(field)}"
    if len(resource.fields) > _MOST_FIELDS:
        yield f"    and {len(resource.fields) - _MOST_FIELDS} more fields"


def _field(field: FieldChange) -> str:
    if field.old is None:
        return f"{field.path}: + {_value(field.new)}"
    if field.new is None:
        return f"{field.path}: - {_value(field.old)}"
    return f"{field.path}: {_value(field.old)} -> {_value(field.new)}"


def _value(value: Any) -> str:
    text = one_line(value) if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _WIDTH else f"{text[:_WIDTH]}..."


def _problem(problem: ProblemStatus) -> str:
    place = f"{problem.file}:{problem.line}:{problem.column}: " if problem.file else ""
    return f"{place}{problem.severity}[{problem.code}] {problem.message}" + (
        f" ({problem.object})" if problem.object else ""
    )
