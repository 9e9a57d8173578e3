"""`fairlead bootstrap`: the document that a stock Envoy starts with.

Everything else reaches it over one stream. The document is JSON, which is YAML too; Envoy's YAML reader would take a
bare `n` or `y` for a boolean.
"""

import enum
import ipaddress
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from fairlead.cli.output import fail
from fairlead.errors import SettingsError

_XDS_CLUSTER = "fairlead"


class Protocol(enum.StrEnum):
    """Variants of the xDS transport protocol."""

    DELTA = "delta"
    """Only what changes is sent, virtual hosts one by one."""
    SOTW = "sotw"
    """State of the world: whole lists are sent."""


class ProxyRole(enum.StrEnum):
    """What a proxy is for."""

    GATEWAY = "gateway"
    SIDECAR = "sidecar"
    WAYPOINT = "waypoint"


@dataclass(frozen=True, kw_only=True)
class ProxyIdentity:
    """What a proxy says of itself."""

    id: str
    namespace: str = "default"
    labels: tuple[tuple[str, str], ...] = ()
    role: ProxyRole = ProxyRole.GATEWAY
    bind_address: str = ""
    """Address for listeners whose address the user did not choose; empty for all addresses."""
    locality: tuple[str, str, str] = ("", "", "")
    """Region, zone, subzone."""
    address: str = ""
    """IP address at which others reach the workload of a sidecar; empty for `bind_address`."""
    http_proxy_port: int = 0
    """Port at which a sidecar is a forward proxy for its application; 0 for none."""


@dataclass(frozen=True, kw_only=True)
class XdsServer:
    """Where and how the control plane is reached."""

    address: str
    """`HOST:PORT` or `unix:FILE`."""
    client_certificate: Path | None = None
    client_key: Path | None = None
    authorities: Path | None = None
    """PEM file with the CA of the server's certificate; set: TLS is spoken."""
    name: str = ""
    """DNS name or IP address that the server's certificate must be for; empty: any certificate of the CA will do."""


def bootstrap_document(
    identity: ProxyIdentity, server: XdsServer, *, protocol: Protocol = Protocol.DELTA, admin_port: int = 15000
) -> dict[str, Any]:
    """The bootstrap of one proxy, as `envoy.config.bootstrap.v3.Bootstrap` in JSON form.

    `admin_port` is bound on loopback. Raises `SettingsError` when the address cannot be understood.
    """
    delta = protocol is Protocol.DELTA
    metadata: dict[str, Any] = {
        "NAMESPACE": identity.namespace,
        "LABELS": dict(identity.labels),
        "ROLE": identity.role.value,
    }
    if identity.bind_address:
        metadata["BIND_ADDRESS"] = identity.bind_address
    if identity.address:
        metadata["INSTANCE_IPS"] = identity.address
    if identity.http_proxy_port:
        metadata["HTTP_PROXY_PORT"] = identity.http_proxy_port
    if delta:
        metadata["VHDS"] = True
    region, zone, subzone = identity.locality
    return {
        "node": {
            "id": identity.id,
            "cluster": identity.labels[0][1] if identity.labels else identity.role.value,
            "metadata": metadata,
            "locality": {"region": region, "zone": zone, "sub_zone": subzone},
        },
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC" if delta else "GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [
                    {
                        "envoy_grpc": {
                            "cluster_name": _XDS_CLUSTER,
                            # Each wait is random, up to twice the one before. Envoy's own reach 30 s: too long for a
                            # restarted control plane. Shorter ones would bring a fleet that has lost it back at once.
                            "retry_policy": {"retry_back_off": {"base_interval": "0.5s", "max_interval": "2s"}},
                        }
                    }
                ],
            },
            "cds_config": {"ads": {}, "resource_api_version": "V3"},
            "lds_config": {"ads": {}, "resource_api_version": "V3"},
        },
        "static_resources": {"clusters": [_xds_cluster(server)]},
        "layered_runtime": {
            "layers": [
                # Envoy's own limit, 100, refuses regular expressions of everyday size; this is Istio's.
                {"name": "fairlead", "static_layer": {"re2.max_program_size.error_level": 32768}},
                {"name": "admin", "admin_layer": {}},
            ]
        },
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin_port}}},
    }


def _xds_cluster(server: XdsServer) -> dict[str, Any]:
    discovery, address = _address(server.address)
    cluster: dict[str, Any] = {
        "name": _XDS_CLUSTER,
        "type": discovery,
        # The TLS handshake included, which takes seconds when a thousand proxies come at once.
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": _XDS_CLUSTER,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {
                    # A control plane that hangs or whose host is gone is noticed within 15 seconds.
                    "http2_protocol_options": {"connection_keepalive": {"interval": "10s", "timeout": "5s"}}
                },
            }
        },
    }
    if server.authorities is not None:
        cluster["transport_socket"] = _tls(server, server.authorities)
    return cluster


def _tls(server: XdsServer, authorities: Path) -> dict[str, Any]:
    validation: dict[str, Any] = {
        "trusted_ca": {
            "filename": str(authorities.absolute()),
            "watched_directory": {"path": str(authorities.absolute().parent)},
        }
    }
    common: dict[str, Any] = {"validation_context": validation}
    more: dict[str, Any] = {}
    if server.name:
        is_address = _is_ip_address(server.name)
        validation["match_typed_subject_alt_names"] = [
            {"san_type": "IP_ADDRESS" if is_address else "DNS", "matcher": {"exact": server.name}}
        ]
        if not is_address:
            more["sni"] = server.name
    if server.client_certificate is not None and server.client_key is not None:
        common["tls_certificates"] = [
            {
                "certificate_chain": {"filename": str(server.client_certificate.absolute())},
                "private_key": {"filename": str(server.client_key.absolute())},
                # Files that are replaced are read again, without a restart.
                "watched_directory": {"path": str(server.client_certificate.absolute().parent)},
            }
        ]
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "common_tls_context": common,
            **more,
        },
    }


def _address(text: str) -> tuple[str, dict[str, Any]]:
    """Discovery type and address message of `HOST:PORT` or `unix:FILE`."""
    if text.startswith("unix:") and text != "unix:":
        return "STATIC", {"pipe": {"path": str(Path(text.removeprefix("unix:")).absolute())}}
    host, separator, port = text.rpartition(":")
    if not separator or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise SettingsError(f"--xds-address is {text!r}; write HOST:PORT or unix:FILE")
    host = host.strip("[]")
    discovery = "STATIC" if _is_ip_address(host) else "STRICT_DNS"
    return discovery, {"socket_address": {"address": host, "port_value": int(port)}}


def _is_ip_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def parse_labels(text: str) -> tuple[tuple[str, str], ...]:
    """`k=v,k2=v2` as pairs; raises `SettingsError` when a part is no pair."""
    pairs = []
    for part in filter(None, text.split(",")):
        key, separator, value = part.partition("=")
        if not separator or not key:
            raise SettingsError(f"--labels is {text!r}; write k=v,k2=v2")
        pairs.append((key.strip(), value.strip()))
    return tuple(pairs)


def _parse_locality(text: str) -> tuple[str, str, str]:
    """`region/zone/subzone`, of which the end may be missing; raises `SettingsError` when there is more."""
    parts = text.split("/")
    if len(parts) > 3:
        raise SettingsError(f"--locality is {text!r}; write region/zone/subzone")
    region, zone, subzone, *_ = (*parts, "", "")
    return region, zone, subzone


def _checked_address(text: str, option: str) -> str:
    try:
        return str(ipaddress.ip_address(text)) if text else ""
    except ValueError:
        raise SettingsError(f"{option} is {text!r}; write an IP address") from None


def bootstrap(
    id_: Annotated[str, typer.Option("--id", help="Name of the proxy, unique among its peers.")],
    namespace: Annotated[str, typer.Option(help="Namespace of the proxy: where its Secrets are.")] = "default",
    labels: Annotated[str, typer.Option(help="Labels of the proxy, k=v,...: what Gateways select it by.")] = "",
    role: Annotated[ProxyRole, typer.Option(help="What the proxy is for.")] = ProxyRole.GATEWAY,
    xds_address: Annotated[
        str, typer.Option(help="Where `fairlead serve` listens: HOST:PORT or unix:FILE.")
    ] = "127.0.0.1:18000",
    admin_port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port of Envoy's admin interface, on loopback.")
    ] = 15000,
    bind_address: Annotated[
        str,
        typer.Option(
            help="Address of listeners that would bind all addresses, and of a sidecar's for its application."
        ),
    ] = "",
    address: Annotated[
        str, typer.Option(help="Of a sidecar: IP address at which others reach the workload. Default: --bind-address.")
    ] = "",
    http_proxy_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Of a sidecar: port of a forward proxy for the application; 0: none.")
    ] = 0,
    protocol: Annotated[Protocol, typer.Option(help="Variant of the xDS protocol.")] = Protocol.DELTA,
    locality: Annotated[str, typer.Option(help="Where the proxy runs: region/zone/subzone.")] = "",
    client_cert: Annotated[Path | None, typer.Option(help="PEM file: certificate to show to the server.")] = None,
    client_key: Annotated[Path | None, typer.Option(help="PEM file: its key.")] = None,
    server_ca: Annotated[Path | None, typer.Option(help="PEM file: CA of the server's certificate.")] = None,
    server_name: Annotated[
        str,
        typer.Option(
            help="DNS name or IP address that the server's certificate must be for. Default: any certificate of the CA."
        ),
    ] = "",
) -> None:
    """Print the bootstrap document of an Envoy.

    For example: fairlead bootstrap --id edge-1 --labels app=edge > edge.json && envoy -c edge.json
    """
    if role is not ProxyRole.SIDECAR and (address or http_proxy_port):
        fail("--address and --http-proxy-port are for --role sidecar")
    if (client_cert is None) is not (client_key is None):
        fail("--client-cert and --client-key belong together")
    if client_cert is not None and server_ca is None:
        fail("--client-cert needs --server-ca, the CA that the server's certificate is checked against")
    if server_name and server_ca is None:
        fail("--server-name needs --server-ca: without TLS, the server shows no certificate")
    try:
        identity = ProxyIdentity(
            id=id_,
            namespace=namespace,
            labels=parse_labels(labels),
            role=role,
            bind_address=_checked_address(bind_address, "--bind-address"),
            address=_checked_address(address, "--address"),
            http_proxy_port=http_proxy_port,
            locality=_parse_locality(locality),
        )
        server = XdsServer(
            address=xds_address,
            client_certificate=client_cert,
            client_key=client_key,
            authorities=server_ca,
            name=server_name,
        )
        document = bootstrap_document(identity, server, protocol=protocol, admin_port=admin_port)
    except SettingsError as error:
        fail(str(error))
    print(json.dumps(document, indent=2))
