"""Rules for Kubernetes' own kinds: those of its API server that a wrong configuration of a proxy could come from."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from fairlead.models.base import KubernetesObject
from fairlead.models.core import (
    AddressType,
    Endpoints,
    EndpointSlice,
    EndpointSubset,
    Pod,
    Secret,
    Service,
    ServicePort,
    ServiceType,
)
from fairlead.problems import FieldPath, Problem, error, warning
from fairlead.validation import certificates, common

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
"""Label of an EndpointSlice with the name of its Service."""


def service(obj: Service) -> Iterator[Problem]:
    """What is wrong with a Service."""
    spec = obj.spec
    if not common.is_dns_label(obj.metadata.name):
        yield error("invalid-name", f"{obj.metadata.name!r} is no name of a Service", path=("metadata", "name"))
    if spec.type is ServiceType.EXTERNAL_NAME:
        path: FieldPath = ("spec", "externalName")
        if spec.external_name:
            yield from common.host(spec.external_name, path, wildcard=False)
        else:
            yield error("missing-field", "a Service of type ExternalName needs externalName", path=path)
    elif not spec.ports and spec.cluster_ip != "None":
        yield error("missing-field", "a Service needs ports", path=("spec", "ports"))
    if spec.cluster_ip not in {"", "None"} and not common.is_ip_address(spec.cluster_ip):
        hint = "write an IP address, or None for a headless Service"
        yield error("invalid-value", f"{spec.cluster_ip!r} is no IP address", path=("spec", "clusterIP"), hint=hint)
    yield from _service_ports(spec.ports)


def _service_ports(ports: tuple[ServicePort, ...]) -> Iterator[Problem]:
    path = ("spec", "ports")
    if len(ports) > 1:
        for index, port in enumerate(ports):
            if not port.name:
                message = "every port needs a name when there are several"
                yield error("missing-field", message, path=(*path, index, "name"))
    names = ((port.name, (*path, index, "name")) for index, port in enumerate(ports) if port.name)
    yield from common.unique(names, "name of a port")
    numbers = ((f"{port.port}/{port.protocol.value}", (*path, index, "port")) for index, port in enumerate(ports))
    yield from common.unique(numbers, "port")
    for index, port in enumerate(ports):
        if isinstance(port.target_port, int):
            yield from common.port(port.target_port, (*path, index, "targetPort"))


def endpoint_slice(obj: EndpointSlice) -> Iterator[Problem]:
    """What is wrong with an EndpointSlice."""
    if SERVICE_NAME_LABEL not in obj.metadata.labels:
        yield warning(
            "missing-field",
            f"the label {SERVICE_NAME_LABEL} is missing, so that the endpoints belong to no Service",
            path=("metadata", "labels"),
        )
    fqdn = obj.address_type is AddressType.FQDN
    for index, endpoint in enumerate(obj.endpoints):
        path = ("endpoints", index, "addresses")
        if not endpoint.addresses:
            yield error("missing-field", "addresses is empty", path=path)
        for position, address in enumerate(endpoint.addresses):
            where = (*path, position)
            if fqdn:
                yield from common.host(address, where, wildcard=False)
            elif not common.is_ip_address(address) or (":" in address) is not (obj.address_type is AddressType.IPV6):
                message = f"{address!r} is no {obj.address_type.value} address"
                yield error("invalid-value", message, path=where)


def endpoints(obj: Endpoints) -> Iterator[Problem]:
    """What is wrong with an Endpoints object."""
    for index, subset in enumerate(obj.subsets):
        yield from _subset(subset, ("subsets", index))


def _subset(subset: EndpointSubset, path: FieldPath) -> Iterator[Problem]:
    for field, addresses in (("addresses", subset.addresses), ("notReadyAddresses", subset.not_ready_addresses)):
        for index, address in enumerate(addresses):
            if not common.is_ip_address(address.ip):
                message = f"{address.ip!r} is no IP address"
                yield error("invalid-value", message, path=(*path, field, index, "ip"))
    for index, port in enumerate(subset.ports):
        if port.port is None:
            yield error("missing-field", "port is missing", path=(*path, "ports", index, "port"))


def secret(obj: Secret) -> Iterator[Problem]:
    """What is wrong with a Secret of type kubernetes.io/tls, or with the certificates in another one.

    Secrets that are faulty are set aside, so that the certificates that were there before go on being served.
    Warnings about certificates are told where they are used.
    """
    values = obj.values
    if obj.type == "kubernetes.io/tls":
        for key in ("tls.crt", "tls.key"):
            if key not in values:
                yield error("missing-field", f"a Secret of type kubernetes.io/tls needs {key}", path=("data", key))
    path: FieldPath = ("data",) if obj.data else ("stringData",)
    if _hold_pem(values, "tls.crt", "tls.key") or _hold_pem(values, "cert", "key"):
        yield from certificates.faults_of_key_pair(values, obj.key, path)
    if _hold_pem(values, "ca.crt") or _hold_pem(values, "cacert"):
        yield from certificates.faults_of_trust_bundle(values, obj.key, path)


def _hold_pem(values: Mapping[str, bytes], *keys: str) -> bool:
    # A Secret that means something else by these names is none of our business.
    return all(b"-----BEGIN" in values.get(key, b"") for key in keys)


def pod(obj: Pod) -> Iterator[Problem]:
    """What is wrong with a Pod."""
    address = obj.status.pod_ip
    if address and not common.is_ip_address(address):
        yield error("invalid-value", f"{address!r} is no IP address", path=("status", "podIP"))


RULES: dict[type[KubernetesObject], Callable[[Any], Iterable[Problem]]] = {
    Service: service,
    EndpointSlice: endpoint_slice,
    Endpoints: endpoints,
    Secret: secret,
    Pod: pod,
}
"""The rules of each kind."""
