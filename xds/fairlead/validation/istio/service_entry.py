"""Rules for ServiceEntries (istio.io/latest/docs/reference/config/networking/service-entry)."""

from collections.abc import Iterator

from fairlead.models.istio.service_entry import Resolution, ServiceEntry, ServiceEntrySpec
from fairlead.problems import FieldPath, Problem, error, warning
from fairlead.validation import common
from fairlead.validation.istio import checks
from fairlead.validation.istio.workload_entry import endpoint

_DNS = {Resolution.DNS, Resolution.DNS_ROUND_ROBIN}


def service_entry(obj: ServiceEntry) -> Iterator[Problem]:
    """What is wrong with a ServiceEntry."""
    spec = obj.spec
    yield from _hosts(spec)
    yield from _addresses(spec)
    yield from _ports(spec)
    yield from _resolution(spec)
    names = {port.name for port in spec.ports}
    yield from common.at_most(spec.endpoints, 4096, ("spec", "endpoints"))
    for index, entry in enumerate(spec.endpoints):
        path = ("spec", "endpoints", index)
        static = spec.resolution is Resolution.STATIC
        yield from endpoint(entry, path, ports=names, names=not static, sockets=static)
    if spec.workload_selector is not None:
        selector = ("spec", "workloadSelector")
        everything = "all workloads of the namespace"
        yield from checks.selector(spec.workload_selector.labels, everything, (*selector, "labels"))
        if spec.endpoints:
            message = "endpoints and workloadSelector exclude each other"
            yield error("conflicting-fields", message, path=selector, hint="keep one of them")
    yield from checks.export_to(spec.export_to, obj.metadata.namespace, ("spec", "exportTo"), none_allowed=True)


def _hosts(spec: ServiceEntrySpec) -> Iterator[Problem]:
    if not spec.hosts:
        yield error("missing-field", "the ServiceEntry has no hosts", path=("spec", "hosts"))
    yield from common.at_most(spec.hosts, 256, ("spec", "hosts"))
    for index, host in enumerate(spec.hosts):
        path: FieldPath = ("spec", "hosts", index)
        if host == "*":
            hint = "name a domain, as in *.example.com"
            yield error("invalid-host", "a ServiceEntry cannot have the host *", path=path, hint=hint)
            continue
        yield from checks.service_host(host, path)
        if "*" in host and not host.startswith("*."):
            message = f"{host!r} has a partial wildcard, which may match more than meant"
            yield warning("partial-wildcard", message, path=path, hint="write *. at the beginning")
    yield from _told_apart(spec)


def _told_apart(spec: ServiceEntrySpec) -> Iterator[Problem]:
    """Hosts of one port are told apart by HTTP's authority or TLS' server name; TCP has neither."""
    if len(spec.hosts) < 2 or spec.resolution is Resolution.NONE:
        return
    hint = "write a ServiceEntry for each host"
    for index, port in enumerate(spec.ports):
        path: FieldPath = ("spec", "ports", index, "protocol")
        protocol = port.protocol.lower()
        if protocol not in checks.HTTP_PROTOCOLS | checks.TLS_PROTOCOLS:
            message = (
                f"the {len(spec.hosts)} hosts cannot be told apart on port {port.number}, which is neither HTTP nor TLS"
            )
            yield error("ambiguous-hosts", message, path=path, hint=hint)
            return
        if protocol in checks.TLS_PROTOCOLS and spec.addresses and spec.resolution in _DNS:
            message = f"the {len(spec.hosts)} hosts share the addresses and port {port.number}"
            yield warning("ambiguous-hosts", message, path=path, hint=hint)
            return


def _addresses(spec: ServiceEntrySpec) -> Iterator[Problem]:
    for index, address in enumerate(spec.addresses):
        path = ("spec", "addresses", index)
        yield from checks.subnet(address, path)
        if "/" in address and spec.resolution not in {Resolution.NONE, Resolution.STATIC}:
            message = f"the CIDR block {address} cannot be used with resolution {spec.resolution.value}"
            yield error("conflicting-fields", message, path=path, hint="use resolution STATIC or NONE")


def _ports(spec: ServiceEntrySpec) -> Iterator[Problem]:
    path: FieldPath = ("spec", "ports")
    if not spec.ports:
        yield warning("no-ports", "without ports the service cannot be reached", path=path)
    for index, port in enumerate(spec.ports):
        where = (*path, index)
        yield from common.port(port.number, (*where, "number"))
        yield from checks.dns_label(port.name, "port", (*where, "name"))
        yield from checks.protocol(port.protocol, (*where, "protocol"))
        if port.target_port:
            yield from common.port(port.target_port, (*where, "targetPort"))
    numbers = ((port.number, (*path, index, "number")) for index, port in enumerate(spec.ports))
    yield from common.unique(numbers, "port")
    names = ((port.name, (*path, index, "name")) for index, port in enumerate(spec.ports))
    yield from common.unique(names, "port name")


def _resolution(spec: ServiceEntrySpec) -> Iterator[Problem]:
    path: FieldPath = ("spec", "resolution")
    resolution = spec.resolution
    selector = ("spec", "workloadSelector")
    if resolution is Resolution.NONE:
        if spec.endpoints:
            message = "endpoints cannot be given with resolution NONE, which takes each connection's own destination"
            hint = "set resolution to STATIC, or to DNS for endpoints with host names"
            yield error("conflicting-fields", message, path=("spec", "endpoints"), hint=hint)
        if spec.workload_selector is not None:
            why = "with resolution NONE each connection goes to its own destination"
            yield checks.no_effect("workloadSelector", why, selector, "set resolution to STATIC")
    elif resolution is Resolution.STATIC:
        if not spec.endpoints and spec.workload_selector is None:
            message = "resolution STATIC without endpoints or workloadSelector: every request is answered 503"
            yield warning("no-endpoints", message, path=path, hint="list endpoints")
    elif resolution in _DNS:
        if not spec.endpoints:
            for index, host in enumerate(spec.hosts):
                if "*" in host:
                    message = f"{host!r} cannot be resolved by DNS"
                    hint = "list endpoints, or name the hosts one by one"
                    yield error("unresolvable-host", message, path=("spec", "hosts", index), hint=hint)
        if resolution is Resolution.DNS_ROUND_ROBIN and len(spec.endpoints) > 1:
            message = f"resolution DNS_ROUND_ROBIN takes one endpoint, not {len(spec.endpoints)}"
            yield error("too-many-endpoints", message, path=("spec", "endpoints", 1), hint="use resolution DNS")
