"""Rules for Gateways (istio.io/latest/docs/reference/config/networking/gateway)."""

from collections.abc import Iterator

from fairlead.models.istio.gateway import Gateway, Server, ServerTLSMode
from fairlead.problems import FieldPath, Problem, error, warning
from fairlead.validation import common
from fairlead.validation.istio import checks
from fairlead.validation.istio.tls import credential_fields, server_tls


def gateway(obj: Gateway) -> Iterator[Problem]:
    """What is wrong with a Gateway."""
    yield from checks.dns_label(obj.metadata.name, "Gateway", ("metadata", "name"))
    servers = obj.spec.servers
    path: FieldPath = ("spec", "servers")
    if not servers:
        yield error("missing-field", "the Gateway has no servers", path=path)
    yield from checks.labels(obj.spec.selector, ("spec", "selector"))
    for index, server in enumerate(servers):
        yield from _server(server, (*path, index))
    # Route tables of HTTPS servers are named after them.
    names = ((server.port.name, (*path, index, "port", "name")) for index, server in enumerate(servers))
    yield from common.unique(((name, where) for name, where in names if name), "port name")


def _server(server: Server, path: FieldPath) -> Iterator[Problem]:
    yield from _port(server, (*path, "port"))
    yield from _bind(server, (*path, "bind"))
    if not server.hosts:
        yield error("missing-field", "the server has no hosts", path=(*path, "hosts"), hint='write "*" for all hosts')
    for index, host in enumerate(server.hosts):
        yield from checks.scoped_host(host, (*path, "hosts", index), gateway=True)
    yield from _tls(server, path)


def _port(server: Server, path: FieldPath) -> Iterator[Problem]:
    port = server.port
    if not port.protocol:
        yield error("missing-field", "the port has no protocol", path=(*path, "protocol"))
    elif port.protocol.lower() in {"udp", "hbone", "double-hbone", "http_proxy"}:
        message = f"protocol {port.protocol} of a Gateway is not supported, and the server is ignored"
        yield warning("unsupported-value", message, path=(*path, "protocol"))
    else:
        yield from checks.protocol(port.protocol, (*path, "protocol"))
    if not server.bind.startswith(checks.UNIX_PREFIX):
        yield from common.port(port.number, (*path, "number"))
    yield from checks.required(port.name, "the port's name", (*path, "name"))


def _bind(server: Server, path: FieldPath) -> Iterator[Problem]:
    if server.bind.startswith(checks.UNIX_PREFIX):
        yield from checks.socket_path(server.bind, path)
        if server.port.number:
            message = f"port {server.port.number} cannot be set together with a unix domain socket"
            yield error("conflicting-fields", message, path=(*path[:-1], "port", "number"), hint="write 0")
    elif server.bind:
        yield from checks.ip_address(server.bind, path)


def _tls(server: Server, path: FieldPath) -> Iterator[Problem]:
    tls = server.tls
    where = (*path, "tls")
    protocol = server.port.protocol.lower()
    encrypted = protocol in checks.TLS_PROTOCOLS
    if tls is None:
        if encrypted:
            message = f"a server of protocol {server.port.protocol} needs tls"
            hint = "set tls.mode, and tls.credentialName unless the mode is PASSTHROUGH"
            yield error("missing-tls", message, path=path, hint=hint)
        return
    if encrypted:
        yield from server_tls(tls, where)
        if protocol == "https" and tls.mode in {ServerTLSMode.PASSTHROUGH, ServerTLSMode.AUTO_PASSTHROUGH}:
            why = f"with mode {tls.mode.value} the server sees no requests"
            if tls.https_redirect:
                yield checks.no_effect("httpsRedirect", why, (*where, "httpsRedirect"))
        elif protocol == "tls" and tls.https_redirect:
            why = "only servers of protocol HTTP redirect"
            yield checks.no_effect("httpsRedirect", why, (*where, "httpsRedirect"))
    elif protocol in checks.HTTP_PROTOCOLS:
        settings = credential_fields(tls)
        if settings or tls.mode not in {ServerTLSMode.PASSTHROUGH, ServerTLSMode.AUTO_PASSTHROUGH}:
            message = f"a server of protocol {server.port.protocol} takes plain text: tls can only have httpsRedirect"
            hint = "use protocol HTTPS, or leave all but httpsRedirect out"
            yield error("unexpected-tls", message, path=(*where, settings[0] if settings else "mode"), hint=hint)
    elif protocol in checks.PROTOCOLS:
        message = f"a server of protocol {server.port.protocol} cannot have tls"
        yield error("unexpected-tls", message, path=where, hint="use protocol TLS or HTTPS")
