"""Rules for what kinds of ASM have in common: which requests, of which proxies, they are about."""

from collections.abc import Collection, Iterator, Sequence

from fairlead.models.asm.governing import (
    Governed,
    GoverningSpec,
    HeaderMatcher,
    QueryParameterMatcher,
    RequestMatcher,
    TargetKind,
    Traffic,
)
from fairlead.problems import FieldPath, Problem, error, warning
from fairlead.validation import common

_HEADER_MATCHES = (
    "regex_match",
    "exact_match",
    "prefix_match",
    "suffix_match",
    "present_match",
    "is_exact_match_empty",
)
_QUERY_MATCHES = ("exact_match", "prefix_match", "suffix_match", "regex_match", "contains_match", "present_match")
_MOST_OF_BOTH = 6
"""Each of them doubles the ways in which none of them matches, of which Envoy has to try all."""


def proxies(spec: GoverningSpec, configs: Collection[Governed], verb: str) -> Iterator[Problem]:
    """What is wrong with the choice of proxies; `verb` says what is done to their requests, such as `limited`."""
    if not configs:
        yield error("missing-field", f"configs is missing, so that nothing is {verb}", path=("spec", "configs"))
    if spec.apply_to_traffic is Traffic.WAYPOINT:
        yield error(
            "unsupported-value",
            f"requests to waypoints cannot be {verb} yet",
            path=("spec", "applyToTraffic"),
            hint="name the sidecars of the service (sidecar_inbound), or the gateway",
        )
    if spec.workload_selector is not None and not spec.workload_selector.labels:
        yield _empty_selector(("spec", "workloadSelector"))
    for index, config in enumerate(configs):
        if config.workload_selector is not None and not config.workload_selector.labels:
            yield _empty_selector(("spec", "configs", index, "workloadSelector"))
        if config.workload_selector is None and spec.workload_selector is None:
            hint = "write workloadSelector below spec, with the labels of the proxies"
            yield error("missing-field", "workloadSelector is missing", path=("spec", "workloadSelector"), hint=hint)
        is_gateway = spec.is_gateway if config.is_gateway is None else config.is_gateway
        if is_gateway and spec.apply_to_traffic not in (None, Traffic.GATEWAY):
            yield error(
                "conflicting-fields",
                "isGateway and applyToTraffic name different proxies",
                path=("spec", "applyToTraffic"),
                hint="leave one of them out",
            )


def _empty_selector(path: FieldPath) -> Problem:
    message = "the selector has no labels, so that it selects all proxies of the namespace"
    return warning("empty-selector", message, path=path, hint="write labels: {KEY: VALUE} below it")


def requests(config: Governed, path: FieldPath) -> Iterator[Problem]:
    """What is wrong with the choice of requests."""
    if config.match is None and not config.target_services:
        hint = 'for all requests, write match: {vhost: {name: "*"}}'
        yield error("missing-field", "neither match nor target_services is there", path=(*path, "match"), hint=hint)
    if config.match is not None and config.target_services:
        message = "only one of match, target_services can be set"
        yield error("conflicting-fields", message, path=(*path, "target_services"))
    if config.match is not None:
        vhost, where = config.match.vhost, (*path, "match", "vhost")
        if not vhost.name:
            yield error("invalid-host", "the name of the virtual host is empty", path=(*where, "name"))
        if vhost.port:
            yield from common.port(vhost.port, (*where, "port"))
        for index, header in enumerate(vhost.route.header_match):
            yield from _header_match(header, (*where, "route", "header_match", index))
    for index, target in enumerate(config.target_services):
        where = (*path, "target_services", index)
        if target.port:
            yield from common.port(target.port, (*where, "port"))
        if target.section_name and target.kind is not TargetKind.VIRTUAL_SERVICE:
            message = f"a {target.kind.value} has no routes with names"
            yield error("conflicting-fields", message, path=(*where, "section_name"), hint="name a VirtualService")


def overrides(matches: Sequence[RequestMatcher], path: FieldPath) -> Iterator[Problem]:
    """What is wrong with the conditions of `limit_overrides`, at the entry of `configs` that has them."""
    both = sum(bool(match.header_match and match.query_match) for match in matches)
    if both > _MOST_OF_BOTH:
        message = f"{both} overrides match headers and query parameters at once, {_MOST_OF_BOTH} are allowed"
        yield error("too-many", message, path=(*path, "limit_overrides"))
    for index, match in enumerate(matches):
        yield from _request_match(match, (*path, "limit_overrides", index, "request_match"))


def _request_match(match: RequestMatcher, path: FieldPath) -> Iterator[Problem]:
    if match.remote_address is not None:
        message = "requests cannot be told apart by their remote_address yet; the object is not served"
        yield error("unsupported-field", message, path=(*path, "remote_address"), hint="match a header instead")
    elif not match.header_match and not match.query_match:
        message = "request_match has no condition, so that nothing would be left for the limit itself"
        yield error("missing-field", message, path=path, hint="write header_match or query_match")
    for index, header in enumerate(match.header_match):
        where = (*path, "header_match", index)
        yield from _header_match(header, where)
        if (header.distinct or match.distinct) and _matches_absence(header):
            message = f"requests without {header.name} match as well, and have no value to be counted by"
            hint = "match those that have it, by present_match: true, or leave distinct out"
            yield error("conflicting-fields", message, path=where, hint=hint)
    for index, parameter in enumerate(match.query_match):
        yield from _query_match(parameter, (*path, "query_match", index))


def _header_match(match: HeaderMatcher, path: FieldPath) -> Iterator[Problem]:
    yield from common.header_name(match.name.removeprefix(":"), (*path, "name"))
    yield from common.exactly_one(match, _HEADER_MATCHES, path)
    if match.regex_match is not None:
        yield from common.regex(match.regex_match, (*path, "regex_match"))


def _matches_absence(match: HeaderMatcher) -> bool:
    if match.present_match is not None:
        return match.present_match is match.invert_match
    # An absent header is taken as an empty one, where what is not to match is asked for.
    return match.invert_match and match.is_exact_match_empty is None


def _query_match(match: QueryParameterMatcher, path: FieldPath) -> Iterator[Problem]:
    if not match.name:
        yield error("missing-field", "the name is empty", path=(*path, "name"))
    yield from common.exactly_one(match, _QUERY_MATCHES, path)
    if match.present_match is False:
        message = "a query parameter cannot be asked to be absent"
        yield error("unsupported-value", message, path=(*path, "present_match"), hint="match the others instead")
    if match.regex_match is not None:
        yield from common.regex(match.regex_match, (*path, "regex_match"))
