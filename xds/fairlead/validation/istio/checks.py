"""Checks that several kinds of Istio's API share.

Each is a generator of Problems, as in `fairlead.validation.common`. What Istio's webhook refuses is an error here, what
it only warns about a warning (istio.io/latest/docs/ops/best-practices, "Use configuration validation").
"""

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping

from fairlead.models.base import Duration
from fairlead.problems import FieldPath, Problem, error, warning
from fairlead.validation import common

MILLISECOND = 1_000_000
"""In nanoseconds, as `Duration`."""
SECOND = 1000 * MILLISECOND
UNIX_PREFIX = "unix://"

HTTP_PROTOCOLS = frozenset({"http", "http2", "grpc", "grpc-web", "http_proxy"})
TLS_PROTOCOLS = frozenset({"https", "tls"})
TCP_PROTOCOLS = frozenset({"tcp", "mongo", "redis", "mysql"})
_OTHER_PROTOCOLS = frozenset({"udp", "hbone", "double-hbone"})
PROTOCOLS = HTTP_PROTOCOLS | TLS_PROTOCOLS | TCP_PROTOCOLS | _OTHER_PROTOCOLS
"""Protocols of ports, in lower case: their case does not matter."""

# Kubernetes' rules for labels (kubernetes.io/docs/concepts/overview/working-with-objects/labels).
_LABEL_NAME = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


def required(value: object, name: str, path: FieldPath, hint: str = "") -> Iterator[Problem]:
    """A field that must not be empty; `path` is the field's."""
    if not value:
        yield error("missing-field", f"{name} is empty", path=path, hint=hint)


def deprecated(name: str, path: FieldPath, hint: str) -> Problem:
    """A field that is still read, but has a successor."""
    return warning("deprecated-field", f"{name} is deprecated", path=path, hint=hint)


def no_effect(name: str, why: str, path: FieldPath, hint: str = "") -> Problem:
    """A field that has no effect where it is."""
    return warning("no-effect", f"{name} has no effect: {why}", path=path, hint=hint)


def not_supported(name: str, path: FieldPath, hint: str = "") -> Problem:
    """A field whose meaning is known, but that is not acted upon."""
    return warning("unsupported-field", f"{name} is not supported, and ignored", path=path, hint=hint)


def dns_label(text: str, what: str, path: FieldPath) -> Iterator[Problem]:
    """A name that must be one part of a host name (RFC 1123)."""
    if not common.is_dns_label(text):
        hint = "use at most 63 letters, digits and hyphens, with no hyphen at either end"
        yield error("invalid-name", f"{text!r} is no valid name of a {what}", path=path, hint=hint)


def service_host(text: str, path: FieldPath, *, wildcard: bool = True) -> Iterator[Problem]:
    """Host name of a service, which an IP address is not."""
    if (":" in text or text[-1:].isdecimal()) and common.is_ip_address(text):
        hint = "name the service, or give the address one with a ServiceEntry"
        yield error("invalid-host", f"{text!r} is an IP address, not the host name of a service", path=path, hint=hint)
    else:
        yield from common.host(text, path, wildcard=wildcard)


def scoped_host(text: str, path: FieldPath, *, gateway: bool) -> Iterator[Problem]:
    """A host with or without namespace, of a Gateway's server or, with namespace, of a Sidecar's egress."""
    namespace, slash, name = text.partition("/")
    if not slash:
        if not gateway:
            yield error("invalid-host", f"{text!r} has no namespace", path=path, hint=f"write */{text} or ./{text}")
            return
        namespace, name = "*", text
    special = {"*", "."} if gateway else {"*", ".", "~"}
    # `~namespace/host` of a Sidecar takes a host away from what other entries let in.
    plain = namespace if gateway else namespace.removeprefix("~")
    if namespace not in special and not common.is_dns_label(plain):
        yield error(
            "invalid-host",
            f"{namespace!r} of {text!r} is no namespace",
            path=path,
            hint=f"write the name of a namespace, {' or '.join(sorted(special, reverse=True))}",
        )
    if gateway and common.is_ip_address(name):
        return
    if name != "*" and "*" in name and not name.startswith("*."):
        hint = "use * alone, or *. at the beginning, as in *.example.com"
        yield error("invalid-host", f"{text!r} has a partial wildcard", path=path, hint=hint)
    elif name and name != "*" and "." not in name:
        hint = f"write the full name, such as {name}.default.svc.cluster.local"
        yield error("invalid-host", f"{text!r} is a short name, which cannot be used here", path=path, hint=hint)
    else:
        yield from common.host(name, path)


def host_covers(pattern: str, host: str) -> bool:
    """Whether a host, or wildcard host, matches every name that another one does."""
    if pattern.startswith("*"):
        return host.removeprefix("*").endswith(pattern[1:]) and len(host) >= len(pattern)
    return pattern == host


def ip_address(text: str, path: FieldPath) -> Iterator[Problem]:
    """An IPv4 or IPv6 address."""
    if not common.is_ip_address(text):
        yield error("invalid-address", f"{text!r} is no IP address", path=path)


def subnet(text: str, path: FieldPath) -> Iterator[Problem]:
    """An IP address or CIDR block."""
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        yield error("invalid-address", f"{text!r} is neither an IP address nor a CIDR block", path=path)


def socket_path(address: str, path: FieldPath) -> Iterator[Problem]:
    """An address that begins with `unix://`: an absolute path, or `@` and an abstract name."""
    file = address.removeprefix(UNIX_PREFIX)
    if not file.startswith(("/", "@")) or file.endswith("/"):
        hint = "write unix:// and an absolute path of a file, as in unix:///run/app.sock"
        yield error("invalid-address", f"{address!r} is no path of a unix domain socket", path=path, hint=hint)


def protocol(text: str, path: FieldPath) -> Iterator[Problem]:
    """Protocol of a port; empty for one that is found out from the traffic."""
    if text and text.lower() not in PROTOCOLS:
        hint = "use HTTP, HTTP2, GRPC, GRPC-WEB, HTTPS, TLS, TCP, MONGO, REDIS or MYSQL"
        yield error("unknown-protocol", f"{text!r} is no protocol that ports can have", path=path, hint=hint)


def show_duration(value: Duration) -> str:
    """A duration in the largest unit that needs no fraction, such as `90s` or `1500us`."""
    for unit, size in (("s", SECOND), ("ms", MILLISECOND), ("us", 1000)):
        if value % size == 0:
            return f"{value // size}{unit}"
    return f"{int(value)}ns"


def duration(
    value: Duration | None, path: FieldPath, *, minimum: int = MILLISECOND, resolution: int = MILLISECOND
) -> Iterator[Problem]:
    """A duration of at least `minimum`, in whole multiples of `resolution` (both in nanoseconds), or none."""
    if value is None:
        return
    if value < minimum:
        message = f"{show_duration(value)} is less than the minimum of {show_duration(Duration(minimum))}"
        yield error("invalid-duration", message, path=path)
    elif value % resolution:
        message = f"{show_duration(value)} is no multiple of {show_duration(Duration(resolution))}"
        yield error("invalid-duration", message, path=path)


def not_negative(value: int, path: FieldPath) -> Iterator[Problem]:
    """A number of something."""
    if value < 0:
        yield error("invalid-value", f"{value} is negative", path=path)


def labels(values: Mapping[str, str], path: FieldPath) -> Iterator[Problem]:
    """Labels of Kubernetes objects."""
    for key, value in values.items():
        prefix, slash, name = key.rpartition("/")
        if not _LABEL_NAME.fullmatch(name) or (slash and not common.is_dns_name(prefix)):
            yield error("invalid-label", f"{key!r} is no key of a label", path=(*path, key))
        if value and not _LABEL_NAME.fullmatch(value):
            yield error("invalid-label", f"{value!r} is no value of a label", path=(*path, key))


def selector(values: Mapping[str, str], what: str, path: FieldPath) -> Iterator[Problem]:
    """Labels that select workloads, in a selector that is present; `what` names what it then is applied to."""
    if not values:
        hint = "write labels, or leave the selector out"
        yield warning("empty-selector", f"the selector has no labels, so that it selects {what}", path=path, hint=hint)
    for key, value in values.items():
        if not key or "*" in key or "*" in value:
            message = f"{key}={value} selects nothing: a selector has neither empty keys nor wildcards"
            yield error("invalid-label", message, path=(*path, key))


def export_to(
    values: Iterable[str], namespace: str, path: FieldPath, *, none_allowed: bool = False
) -> Iterator[Problem]:
    """Namespaces that see an object of `namespace`; with `none_allowed` also `~`, which is none at all."""
    entries = list(values)
    yield from common.unique(
        ((namespace if value == "." else value, (*path, index)) for index, value in enumerate(entries)), "namespace"
    )
    for index, value in enumerate(entries):
        if value in {"*", "~"} and len(entries) > 1 and (value == "*" or none_allowed):
            message = f"{value!r} cannot be combined with other namespaces"
            yield error("invalid-export", message, path=(*path, index), hint=f"write {value!r} alone, or leave it out")
        elif value == "~" and not none_allowed:
            hint = "use . for the object's own namespace"
            yield error("invalid-export", "only a ServiceEntry can be exported to ~", path=(*path, index), hint=hint)
        elif value not in {".", "*", "~"} and not common.is_dns_label(value):
            hint = "write the name of a namespace, . or *"
            yield error("invalid-export", f"{value!r} is no namespace", path=(*path, index), hint=hint)
