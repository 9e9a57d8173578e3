"""From what a client says of itself to the proxy that it is.

Istio's node ids (`type~ip~name.namespace~domain`) are understood; any other id is welcome, and means a gateway. What
decides is in the metadata: `NAMESPACE`, `LABELS`, `ROLE`, `BIND_ADDRESS`, `VHDS`, of gateways `PROXY_CONFIG`, and of
sidecars `INSTANCE_IPS` and `HTTP_PROXY_PORT`, as `fairlead bootstrap` writes them (https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/core/v3/base.proto#config-core-v3-node).

All that is a claim. The namespace decides which Secrets a proxy is sent; so where a certificate tells it, it counts,
and a claim of another one is refused. Role, labels and the rest choose among what the namespace may have.
"""

import ipaddress

from fairlead.errors import IdentityError, LimitError, ProtocolError
from fairlead.problems import Severity, format_path
from fairlead.resolve.mesh import own_config
from fairlead.resolve.scope import Locality, Proxy, Role
from fairlead.server.identity import Identity
from fairlead.snapshot.messages import Node

DEFAULT_NAMESPACE = "default"

_ISTIO_ROLES = {"router": Role.GATEWAY, "sidecar": Role.SIDECAR, "waypoint": Role.WAYPOINT}
_LONGEST_ID = 1024
_EVERY_ADDRESS = ipaddress.ip_address("0.0.0.0")  # which listeners bind without being told


def proxy_of(node: Node, *, delta: bool, identity: Identity | None = None) -> Proxy:
    """The proxy that a node describes; `delta`: it speaks the variant of the protocol that VHDS needs.

    Raises `ProtocolError` when the description cannot be used, `IdentityError` among them: it contradicts `identity`.
    """
    if len(node.id) > _LONGEST_ID:
        raise LimitError(f"the node id has {len(node.id)} characters; {_LONGEST_ID} are allowed")
    metadata = node.metadata
    role, id_namespace, id_address = _from_id(node.id)
    named_namespace = _text(metadata.get("NAMESPACE"), "NAMESPACE")
    if identity is not None:
        for claimed, source in ((named_namespace, "node metadata NAMESPACE"), (id_namespace, "the node id")):
            _check_claim(claimed, source, identity)
    if isinstance(named := metadata.get("ROLE"), str):
        try:
            role = Role(named)
        except ValueError:
            raise ProtocolError(
                f"node metadata ROLE is {named!r}; it is one of {', '.join(known.value for known in Role)}"
            ) from None
    labels = metadata.get("LABELS") or {}
    if not isinstance(labels, dict):
        raise ProtocolError("node metadata LABELS is no mapping of texts")
    return Proxy(
        role=role,
        namespace=identity.namespace if identity is not None else named_namespace or id_namespace or DEFAULT_NAMESPACE,
        labels=frozenset((str(key), _text(value, f"LABELS.{key}")) for key, value in labels.items()),
        locality=Locality(node.region, node.zone, node.sub_zone),
        bind_address=_bind_address(_text(metadata.get("BIND_ADDRESS"), "BIND_ADDRESS")),
        virtual_host_discovery=delta and metadata.get("VHDS") is True,
        config=_own_config(metadata.get("PROXY_CONFIG")) if role is Role.GATEWAY else "",
        # Of other proxies they decide nothing, and would keep those apart that can share all tables.
        address=_own_address(metadata.get("INSTANCE_IPS"), id_address) if role is Role.SIDECAR else "",
        http_proxy_port=_port(metadata.get("HTTP_PROXY_PORT")) if role is Role.SIDECAR else 0,
    )


def _own_config(data: object) -> str:
    if data is None:
        return ""
    config, problems = own_config(data)
    for problem in problems:
        if problem.severity is Severity.ERROR:
            where = ".".join(filter(None, ("PROXY_CONFIG", format_path(problem.path))))
            raise ProtocolError(f"node metadata {where}: {problem.message}")
    return config


def _from_id(node_id: str) -> tuple[Role, str, str]:
    """Role, namespace and address that an Istio id names; the role is a gateway's, the others empty, if it does not."""
    parts = node_id.split("~")
    if len(parts) != 4 or parts[0] not in _ISTIO_ROLES:
        return Role.GATEWAY, "", ""
    _, dot, namespace = parts[2].rpartition(".")
    return _ISTIO_ROLES[parts[0]], namespace if dot else "", parts[1]


def _check_claim(claimed: str, source: str, identity: Identity) -> None:
    if claimed and claimed != identity.namespace:
        raise IdentityError(
            f"{source} claims the namespace {claimed[:300]}, but the certificate of {identity.name} is for "
            f"{identity.namespace}; correct the bootstrap, or issue a certificate for {claimed[:300]}"
        )


def _text(value: object, name: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ProtocolError(f"node metadata {name} is no text")
    return value


def _own_address(instance_ips: object, id_address: str) -> str:
    """The first address that a proxy says its workload has; what is in the id is often a placeholder."""
    first = _text(instance_ips, "INSTANCE_IPS").partition(",")[0].strip()
    if first:
        try:
            return str(ipaddress.ip_address(first))
        except ValueError:
            raise ProtocolError(f"node metadata INSTANCE_IPS has {first!r}, which is no IP address") from None
    try:
        found = ipaddress.ip_address(id_address)
    except ValueError:
        return ""
    return "" if found == _EVERY_ADDRESS else str(found)


def _port(value: object) -> int:
    if value is None:
        return 0
    # Numbers of a protobuf Struct are floating.
    if isinstance(value, int | float) and value == int(value) and 0 < value < 65536:
        return int(value)
    raise ProtocolError(f"node metadata HTTP_PROXY_PORT is {value!r}, which is no port")


def _bind_address(text: str) -> str:
    if not text:
        return ""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ProtocolError(f"node metadata BIND_ADDRESS is {text!r}, which is no IP address") from None
    return "" if address == _EVERY_ADDRESS else str(address)
