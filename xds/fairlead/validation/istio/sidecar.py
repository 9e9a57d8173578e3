"""Rules for Sidecars (istio.io/latest/docs/reference/config/networking/sidecar)."""

from collections.abc import Iterator

from fairlead.models.istio.gateway import ServerTLSMode, ServerTLSSettings
from fairlead.models.istio.sidecar import (
    CaptureMode,
    IstioEgressListener,
    IstioIngressListener,
    OutboundTrafficMode,
    OutboundTrafficPolicy,
    Sidecar,
    SidecarPort,
    SidecarSpec,
)
from fairlead.problems import FieldPath, Problem, error, warning
from fairlead.validation import common
from fairlead.validation.istio import checks, destinations
from fairlead.validation.istio.destination_rule import connection_pool
from fairlead.validation.istio.tls import credential_fields, server_tls

_ENDPOINT_HOSTS = {"", "127.0.0.1", "0.0.0.0", "[::1]", "[::]"}


def sidecar(obj: Sidecar) -> Iterator[Problem]:
    """What is wrong with a Sidecar."""
    spec = obj.spec
    if spec == SidecarSpec(workload_selector=spec.workload_selector):
        message = "the Sidecar is empty"
        hint = "add egress, ingress, outboundTrafficPolicy or inboundConnectionPool"
        yield error("empty-policy", message, path=("spec",), hint=hint)
    if spec.workload_selector is not None:
        where = ("spec", "workloadSelector", "labels")
        yield from checks.selector(spec.workload_selector.labels, "all workloads of the namespace", where)
    for index, ingress in enumerate(spec.ingress):
        yield from _ingress(ingress, ("spec", "ingress", index))
    numbers = ((entry.port.number, ("spec", "ingress", index, "port")) for index, entry in enumerate(spec.ingress))
    yield from common.unique(numbers, "port")
    yield from _egress(spec, obj.metadata.namespace)
    if spec.inbound_connection_pool is not None:
        yield from connection_pool(spec.inbound_connection_pool, ("spec", "inboundConnectionPool"))
    if spec.outbound_traffic_policy is not None:
        yield from _outbound(spec.outbound_traffic_policy, ("spec", "outboundTrafficPolicy"))


def _port(port: SidecarPort, path: FieldPath) -> Iterator[Problem]:
    if port.name:
        yield from checks.dns_label(port.name, "port", (*path, "name"))
    yield from checks.protocol(port.protocol, (*path, "protocol"))


def _ingress(listener: IstioIngressListener, path: FieldPath) -> Iterator[Problem]:
    yield from _port(listener.port, (*path, "port"))
    yield from common.port(listener.port.number, (*path, "port", "number"))
    if listener.bind:
        yield from checks.ip_address(listener.bind, (*path, "bind"))
    if listener.default_endpoint:
        yield from _default_endpoint(listener.default_endpoint, (*path, "defaultEndpoint"))
    if listener.tls is not None:
        yield from _tls(listener.tls, (*path, "tls"))
    if listener.connection_pool is not None:
        where = (*path, "connectionPool")
        yield from connection_pool(listener.connection_pool, where)
        protocol = listener.port.protocol
        if listener.connection_pool.http is not None and protocol.lower() not in checks.HTTP_PROTOCOLS:
            why = f"port {listener.port.number} is {protocol}, not HTTP" if protocol else "the port is not HTTP"
            yield checks.no_effect("http", why, (*where, "http"), "leave it out, or set port.protocol")


def _default_endpoint(endpoint: str, path: FieldPath) -> Iterator[Problem]:
    if endpoint.startswith(checks.UNIX_PREFIX):
        yield from checks.socket_path(endpoint, path)
        return
    host, _, port = endpoint.rpartition(":")
    if host not in _ENDPOINT_HOSTS or not port.isdecimal():
        message = f"{endpoint!r} is no endpoint of the workload"
        hint = "write 127.0.0.1:port, 0.0.0.0:port, [::1]:port, [::]:port or unix:///path"
        yield error("invalid-address", message, path=path, hint=hint)
    else:
        yield from common.port(int(port), path)


def _tls(tls: ServerTLSSettings, path: FieldPath) -> Iterator[Problem]:
    if tls.mode in {ServerTLSMode.ISTIO_MUTUAL, ServerTLSMode.AUTO_PASSTHROUGH}:
        message = f"mode {tls.mode.value} cannot be used in a Sidecar"
        yield error("invalid-value", message, path=(*path, "mode"), hint="use SIMPLE or MUTUAL")
        return
    refused = [name for name in credential_fields(tls) if "redential" in name]
    refused += ["subjectAltNames"] if tls.subject_alt_names else []
    refused += ["httpsRedirect"] if tls.https_redirect else []
    for name in refused:
        hint = "use serverCertificate and privateKey" if "redential" in name else "leave it out"
        yield error("invalid-value", f"{name} cannot be used in a Sidecar", path=(*path, name), hint=hint)
    yield from server_tls(tls, path)


def _egress(spec: SidecarSpec, namespace: str) -> Iterator[Problem]:
    path: FieldPath = ("spec", "egress")
    seen: set[int | str] = set()
    for index, listener in enumerate(spec.egress):
        where = (*path, index)
        if listener.port is None:
            if index < len(spec.egress) - 1:
                message = "a listener without port takes all that the others leave, and has to be the last"
                yield error("egress-order", message, path=where, hint="move it to the end, or add a port")
        else:
            yield from _egress_port(listener, listener.port, where)
            identity = listener.port.number or listener.bind
            if identity in seen:
                yield error("duplicate-value", f"several listeners have {identity}", path=(*where, "port"))
            seen.add(identity)
        yield from _egress_hosts(listener, namespace, (*where, "hosts"))


def _egress_port(listener: IstioEgressListener, port: SidecarPort, path: FieldPath) -> Iterator[Problem]:
    yield from _port(port, (*path, "port"))
    if port.number:
        yield from common.port(port.number, (*path, "port", "number"))
        if listener.bind:
            yield from checks.ip_address(listener.bind, (*path, "bind"))
        return
    if listener.bind.startswith(checks.UNIX_PREFIX):
        yield from checks.socket_path(listener.bind, (*path, "bind"))
    else:
        message = "port 0 is for unix domain sockets"
        hint = "set bind to unix:///path, or the port to another number"
        yield error("invalid-port", message, path=(*path, "port", "number"), hint=hint)
    if listener.capture_mode is CaptureMode.IPTABLES:
        message = "connections to a unix domain socket cannot be captured"
        yield error("conflicting-fields", message, path=(*path, "captureMode"), hint="use NONE")


def _egress_hosts(listener: IstioEgressListener, namespace: str, path: FieldPath) -> Iterator[Problem]:
    if not listener.hosts:
        yield error("missing-field", "the listener has no hosts", path=path, hint='write "*/*" for all hosts')
    seen: set[tuple[str, str]] = set()
    for index, host in enumerate(listener.hosts):
        where = (*path, index)
        yield from checks.scoped_host(host, where, gateway=False)
        scope, _, name = host.partition("/")
        scope = namespace if scope == "." else scope
        wider = [entry for entry in ((scope, name), (scope, "*"), ("*", "*")) if entry in seen]
        if wider and not scope.startswith("~"):
            message = f"{host!r} is already in {'/'.join(wider[0])}"
            yield warning("duplicate-value", message, path=where, hint="leave it out")
        seen.add((scope, name))


def _outbound(policy: OutboundTrafficPolicy, path: FieldPath) -> Iterator[Problem]:
    proxy = policy.egress_proxy
    if proxy is None:
        return
    where = (*path, "egressProxy")
    if policy.mode is not OutboundTrafficMode.ALLOW_ANY:
        message = f"egressProxy cannot be used with mode {policy.mode.value}"
        yield error("conflicting-fields", message, path=where, hint="set mode to ALLOW_ANY")
    if "*" in proxy.host:
        message = f"{proxy.host!r} is a wildcard, not a proxy"
        yield error("invalid-host", message, path=(*where, "host"))
        return
    yield from destinations.destination(proxy, where)
    if proxy.port is None:
        yield error("missing-field", "the proxy has no port", path=(*where, "port"), hint="set port.number")
