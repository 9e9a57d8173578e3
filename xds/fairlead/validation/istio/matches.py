"""Conditions of VirtualServices' routes."""

from collections.abc import Iterator, Mapping

from fairlead.models.istio.virtual_service import (
    HTTPMatchRequest,
    L4MatchAttributes,
    StringMatch,
    TLSMatchAttributes,
    VirtualServiceSpec,
)
from fairlead.problems import FieldPath, Problem, error, warning
from fairlead.validation import common
from fairlead.validation.istio import checks, headers

MESH = "mesh"
"""Name of the gateway that stands for all sidecars."""


def gateway_names(names: tuple[str, ...], path: FieldPath) -> Iterator[Problem]:
    """Names of Gateways that a VirtualService refers to."""
    for index, name in enumerate(names):
        where = (*path, index)
        namespace, slash, short = name.partition("/")
        if slash:
            yield from checks.dns_label(namespace, "namespace", where)
            yield from checks.dns_label(short, "Gateway", where)
        elif "." in name and common.is_dns_name(name):
            first, second = name.split(".")[:2]
            hint = f"write {second}/{first}"
            yield warning("deprecated-field", f"{name!r} names a Gateway in the old form", path=where, hint=hint)
        else:
            yield from checks.dns_label(name, "Gateway", where)


def is_bound_to_gateways(spec: VirtualServiceSpec) -> bool:
    """Whether a VirtualService is for gateways only, and not for sidecars."""
    return bool(spec.gateways) and MESH not in spec.gateways


def string_match(match: StringMatch, path: FieldPath, *, empty_prefix: bool = False) -> Iterator[Problem]:
    """How a string is matched; none of the ways is presence, or no condition at all."""
    yield from common.at_most_one(match, ("exact", "prefix", "regex"), path)
    if match.prefix == "" and not empty_prefix:
        hint = "leave the condition out to match all"
        yield error("missing-field", "the prefix is empty", path=(*path, "prefix"), hint=hint)
    if match.regex == "":
        yield error("missing-field", "the regular expression is empty", path=(*path, "regex"))
    elif match.regex is not None:
        yield from common.regex(match.regex, (*path, "regex"))


def http_match(match: HTTPMatchRequest, path: FieldPath, *, gateways_only: bool) -> Iterator[Problem]:
    """Conditions of a request; `gateways_only` says that the route is for no sidecar."""
    for name, value, empty_prefix in (
        ("uri", match.uri, True),
        ("scheme", match.scheme, False),
        ("method", match.method, False),
        ("authority", match.authority, False),
    ):
        if value is None:
            continue
        if value == StringMatch():
            hint = "write exact, prefix or regex, or leave it out"
            yield warning("empty-match", f"{name} has no condition, and matches all", path=(*path, name), hint=hint)
        yield from string_match(value, (*path, name), empty_prefix=empty_prefix)
    if match.uri is not None:
        for kind, path_text in (("exact", match.uri.exact), ("prefix", match.uri.prefix)):
            if path_text and not path_text.startswith("/"):
                message = f"paths begin with /, so that {path_text!r} never matches"
                hint = f"write /{path_text}"
                yield warning("invalid-path", message, path=(*path, "uri", kind), hint=hint)
    if match.ignore_uri_case and (match.uri is None or match.uri.regex is not None):
        why = "it is for uri.exact and uri.prefix" if match.uri is None else "a regular expression has its own way"
        hint = "" if match.uri is None else "begin the regular expression with (?i)"
        yield checks.no_effect("ignoreUriCase", why, (*path, "ignoreUriCase"), hint)
    for field, values in (("headers", match.headers), ("withoutHeaders", match.without_headers)):
        for name in values:
            yield from headers.matched_name(name, (*path, field, name))
            if headers.is_claim(name) and not gateways_only:
                message = f"the claim {name!r} can be matched on gateways only"
                hint = "list the Gateways in spec.gateways, without mesh"
                yield error("claim-without-gateway", message, path=(*path, field, name), hint=hint)
        yield from _map(values, (*path, field))
    yield from _map(match.query_params, (*path, "queryParams"))
    yield from _l4(match, path)


def _map(values: Mapping[str, StringMatch], path: FieldPath) -> Iterator[Problem]:
    for name, value in values.items():
        if value.regex != "*":  # stands for presence, although it is no regular expression
            yield from string_match(value, (*path, name))


def _l4(match: HTTPMatchRequest | TLSMatchAttributes | L4MatchAttributes, path: FieldPath) -> Iterator[Problem]:
    """Conditions that all protocols have."""
    if match.port:
        yield from common.port(match.port, (*path, "port"))
    yield from checks.labels(match.source_labels, (*path, "sourceLabels"))
    yield from gateway_names(match.gateways, (*path, "gateways"))
    if match.source_namespace:
        yield from checks.dns_label(match.source_namespace, "namespace", (*path, "sourceNamespace"))


def tls_match(match: TLSMatchAttributes, path: FieldPath, spec: VirtualServiceSpec) -> Iterator[Problem]:
    """Conditions of a TLS connection, of a route of `spec`."""
    if not match.sni_hosts:
        hint = 'write "*" for all server names' if "*" in spec.hosts else "list server names of spec.hosts"
        yield error("missing-field", "the match has no sniHosts", path=(*path, "sniHosts"), hint=hint)
    for index, host in enumerate(match.sni_hosts):
        where = (*path, "sniHosts", index)
        if common.is_ip_address(host):
            message = f"{host!r} is an IP address: clients send no server name for it"
            yield warning("ip-server-name", message, path=where)
            continue
        faults = list(virtual_host(host, where, spec))
        yield from faults
        if not faults and spec.hosts and not any(checks.host_covers(pattern, host) for pattern in spec.hosts):
            message = f"the server name {host!r} is not among the hosts {', '.join(spec.hosts)}"
            yield error("sni-outside-hosts", message, path=where, hint="add it to spec.hosts")
    yield from _subnets(match.destination_subnets, (*path, "destinationSubnets"))
    yield from _l4(match, path)


def tcp_match(match: L4MatchAttributes, path: FieldPath) -> Iterator[Problem]:
    """Conditions of a connection."""
    yield from _subnets(match.destination_subnets, (*path, "destinationSubnets"))
    yield from _l4(match, path)


def _subnets(subnets: tuple[str, ...], path: FieldPath) -> Iterator[Problem]:
    for index, subnet in enumerate(subnets):
        yield from checks.subnet(subnet, (*path, index))


def virtual_host(host: str, path: FieldPath, spec: VirtualServiceSpec) -> Iterator[Problem]:
    """A host, or server name, of a VirtualService; an IP address is one that requests may name."""
    # Server names that AUTO_PASSTHROUGH routes by hold underscores.
    clusters = is_bound_to_gateways(spec) and spec.tls and host.startswith("outbound_.")
    if not clusters and not common.is_ip_address(host):
        yield from common.host(host, path)
