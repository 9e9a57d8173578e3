"""Rules for WorkloadEntries, alone and as endpoints of a ServiceEntry."""

from collections.abc import Iterator, Set

from fairlead.models.istio.workload_entry import WorkloadEntry, WorkloadEntrySpec
from fairlead.problems import FieldPath, Problem, error, warning
from fairlead.validation import common
from fairlead.validation.istio import checks


def workload_entry(obj: WorkloadEntry) -> Iterator[Problem]:
    """What is wrong with a WorkloadEntry."""
    yield from endpoint(obj.spec, ("spec",))


def endpoint(
    spec: WorkloadEntrySpec,
    path: FieldPath,
    *,
    ports: Set[str] | None = None,
    names: bool = True,
    sockets: bool = True,
) -> Iterator[Problem]:
    """An endpoint.

    `ports` are the names of its service's ports, None when the service is not known; `names` and `sockets` say
    whether host names and unix domain sockets can be its address.
    """
    yield from _address(spec, (*path, "address"), names=names, sockets=sockets)
    unix = spec.address.startswith(checks.UNIX_PREFIX)
    if unix and spec.ports:
        message = f"an endpoint at {spec.address} cannot have ports"
        yield error("conflicting-fields", message, path=(*path, "ports"))
    if unix and ports is not None and len(ports) != 1:
        message = f"a service with an endpoint at {spec.address} has exactly one port, not {len(ports)}"
        yield error("invalid-address", message, path=(*path, "address"))
    for name, number in spec.ports.items():
        where = (*path, "ports", name)
        yield from checks.dns_label(name, "port", where)
        yield from common.port(number, where)
        if ports is not None and name not in ports:
            hint = f"use one of {', '.join(sorted(ports))}" if ports else ""
            yield error("unknown-port", f"the service has no port named {name!r}", path=where, hint=hint)
    yield from checks.labels(spec.labels, (*path, "labels"))
    parts = spec.locality.split("/")
    if spec.locality and (len(parts) > 3 or "" in parts):
        message = f"{spec.locality!r} is no locality"
        hint = "write region, region/zone or region/zone/subzone"
        yield warning("invalid-locality", message, path=(*path, "locality"), hint=hint)


def _address(spec: WorkloadEntrySpec, path: FieldPath, *, names: bool, sockets: bool) -> Iterator[Problem]:
    address = spec.address
    if not address:
        if not spec.network:
            yield error("missing-field", "the endpoint has no address", path=path)
    elif address.startswith(checks.UNIX_PREFIX):
        if sockets:
            yield from checks.socket_path(address, path)
        else:
            hint = "use resolution STATIC"
            message = f"{address!r} is a unix domain socket, which is not resolved by DNS"
            yield error("invalid-address", message, path=path, hint=hint)
    elif not common.is_ip_address(address):
        if not names:
            hint = "use resolution DNS for endpoints with host names"
            yield error("invalid-address", f"{address!r} is no IP address", path=path, hint=hint)
        elif not common.is_dns_name(address):
            hint = "leave the port out; ports are listed in ports" if ":" in address else ""
            message = f"{address!r} is neither an IP address nor a host name"
            yield error("invalid-address", message, path=path, hint=hint)
