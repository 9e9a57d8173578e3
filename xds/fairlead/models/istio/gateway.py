"""Gateway: the servers that a gateway proxy opens (istio.io/latest/docs/reference/config/networking/gateway)."""

import enum
from typing import ClassVar

import msgspec

from fairlead.models.base import KubernetesObject, Model
from fairlead.models.istio.common import NETWORKING_GROUP, NETWORKING_VERSIONS, UInt32


class ServerTLSMode(enum.Enum):
    """What a server does with TLS."""

    PASSTHROUGH = "PASSTHROUGH"
    SIMPLE = "SIMPLE"
    MUTUAL = "MUTUAL"
    AUTO_PASSTHROUGH = "AUTO_PASSTHROUGH"
    ISTIO_MUTUAL = "ISTIO_MUTUAL"
    OPTIONAL_MUTUAL = "OPTIONAL_MUTUAL"


class TLSProtocol(enum.Enum):
    """A version of TLS; TLS_AUTO leaves it to Envoy."""

    TLS_AUTO = "TLS_AUTO"
    TLSV1_0 = "TLSV1_0"
    TLSV1_1 = "TLSV1_1"
    TLSV1_2 = "TLSV1_2"
    TLSV1_3 = "TLSV1_3"


class TLSCertificate(Model, frozen=True, kw_only=True):
    """A key pair in files of the proxy."""

    server_certificate: str = ""
    private_key: str = ""
    ca_certificates: str = ""


class ServerTLSSettings(Model, frozen=True, kw_only=True):
    """TLS of a server. Its key pair comes from one of `credential_name(s)`, files, or `tls_certificates`."""

    https_redirect: bool = False
    """Plain HTTP servers only: answer 301 to https."""
    mode: ServerTLSMode = ServerTLSMode.PASSTHROUGH
    server_certificate: str = ""
    private_key: str = ""
    ca_certificates: str = ""
    ca_crl: str = ""
    credential_name: str = ""
    credential_names: tuple[str, ...] = ()
    """At most two: one RSA, one ECDSA."""
    ca_cert_credential_name: str = ""
    tls_certificates: tuple[TLSCertificate, ...] = ()
    subject_alt_names: tuple[str, ...] = ()
    verify_certificate_spki: tuple[str, ...] = ()
    """Base64 of SHA-256 of a client certificate's public key."""
    verify_certificate_hash: tuple[str, ...] = ()
    """SHA-256 of a client certificate in hex, with or without colons."""
    min_protocol_version: TLSProtocol = TLSProtocol.TLS_AUTO
    max_protocol_version: TLSProtocol = TLSProtocol.TLS_AUTO
    cipher_suites: tuple[str, ...] = ()
    ecdh_curves: tuple[str, ...] = ()
    insecure_skip_verify: bool | None = None


class Port(Model, frozen=True, kw_only=True):
    """The port of a server."""

    number: UInt32
    protocol: str
    name: str
    target_port: UInt32 = 0
    """Deprecated, and without effect."""


class Server(Model, frozen=True, kw_only=True):
    """A port of the gateway, and the hosts served there."""

    port: Port
    hosts: tuple[str, ...]
    """`host`, `namespace/host`, `./host` (the Gateway's own namespace), `*/host`."""
    bind: str = ""
    """IP address or `unix://path`; empty for the wildcard address."""
    tls: ServerTLSSettings | None = None
    default_endpoint: str = ""
    """Never implemented in Istio, and without effect."""
    name: str = ""


class GatewaySpec(Model, frozen=True, kw_only=True):
    """Which proxies serve what."""

    servers: tuple[Server, ...] = ()
    selector: dict[str, str] = msgspec.field(default_factory=dict)
    """Labels of the gateway proxies, in any namespace; empty for all of them."""


class Gateway(KubernetesObject, frozen=True, kw_only=True):
    """Servers at the edge of the mesh."""

    group: ClassVar[str] = NETWORKING_GROUP
    kind: ClassVar[str] = "Gateway"
    versions: ClassVar[tuple[str, ...]] = NETWORKING_VERSIONS

    spec: GatewaySpec
