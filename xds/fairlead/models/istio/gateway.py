"""Gateway: the servers that a gateway proxy opens (istio.io/latest/docs/reference/config/networking/gateway)."""

import enum
from typing import ClassVar

import msgspec

from fairlead.models.base import KubernetesObject, Model
from fairlead.models.istio.common import NETWORKING_GROUP, NETWORKING_VERSIONS, UInt32

CIPHER_SUITES = frozenset(
    """
    ECDHE-ECDSA-AES128-GCM-SHA256 ECDHE-RSA-AES128-GCM-SHA256 ECDHE-ECDSA-AES256-GCM-SHA384
    ECDHE-RSA-AES256-GCM-SHA384 ECDHE-ECDSA-CHACHA20-POLY1305 ECDHE-RSA-CHACHA20-POLY1305 ECDHE-ECDSA-AES128-SHA
    ECDHE-ECDSA-AES128-SHA256 ECDHE-RSA-AES128-SHA ECDHE-RSA-AES128-SHA256 ECDHE-ECDSA-AES256-SHA
    ECDHE-RSA-AES256-SHA AES128-GCM-SHA256 AES256-GCM-SHA384 AES128-SHA AES256-SHA DES-CBC3-SHA
    TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
    TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
    TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
    TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA
    TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256 TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256
    TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA TLS_RSA_WITH_AES_128_GCM_SHA256
    TLS_RSA_WITH_AES_256_GCM_SHA384 TLS_RSA_WITH_AES_128_CBC_SHA TLS_RSA_WITH_AES_256_CBC_SHA
    TLS_RSA_WITH_3DES_EDE_CBC_SHA
    """.split()  # noqa: SIM905  # legible as words
)
"""Names that Envoy 1.40 takes in a list of cipher suites, OpenSSL's and IANA's; it refuses a list with another one."""

ECDH_CURVES = frozenset(
    "P-256 P-384 P-521 X25519 X25519MLKEM768 MLKEM1024 prime256v1 secp384r1 secp521r1 x25519".split()  # noqa: SIM905
)
"""Names that Envoy 1.40 takes in a list of curves; it refuses a list with another one."""


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
    """As `tls.serverCertificate`."""
    private_key: str = ""
    """As `tls.serverCertificate`."""
    ca_certificates: str = ""
    """As `tls.serverCertificate`."""


class ServerTLSSettings(Model, frozen=True, kw_only=True):
    """TLS of a server. Its key pair comes from one of `credential_name(s)`, files, or `tls_certificates`."""

    https_redirect: bool = False
    """Plain HTTP servers only: answer 301 to https."""
    mode: ServerTLSMode = ServerTLSMode.PASSTHROUGH
    """ISTIO_MUTUAL is by the Secret `workload-certificate`; AUTO_PASSTHROUGH is reported, the server not served."""
    server_certificate: str = ""
    """A file of the proxy, which reads it anew when it is replaced."""
    private_key: str = ""
    """As `serverCertificate`."""
    ca_certificates: str = ""
    """As `serverCertificate`."""
    ca_crl: str = ""
    """As `serverCertificate`, beside `caCertificates`; a Secret may hold `ca.crl`."""
    credential_name: str = ""
    """A Secret of the proxy's namespace, sent by SDS; its `ca.crt`, or that of `-cacert`, verifies clients."""
    credential_names: tuple[str, ...] = ()
    """At most two: one RSA, one ECDSA."""
    ca_cert_credential_name: str = ""
    """A Secret that holds the CA certificates for clients' certificates."""
    tls_certificates: tuple[TLSCertificate, ...] = ()
    subject_alt_names: tuple[str, ...] = ()
    """One of these must be in a client's certificate, exactly."""
    verify_certificate_spki: tuple[str, ...] = ()
    """Base64 of SHA-256 of a client certificate's public key."""
    verify_certificate_hash: tuple[str, ...] = ()
    """SHA-256 of a client certificate in hex, with or without colons."""
    min_protocol_version: TLSProtocol = TLSProtocol.TLS_AUTO
    max_protocol_version: TLSProtocol = TLSProtocol.TLS_AUTO
    cipher_suites: tuple[str, ...] = ()
    """Of TLS 1.2 and below; unknown ones are left out with a warning. Empty for Envoy's."""
    ecdh_curves: tuple[str, ...] = ()
    """Unknown ones are left out with a warning. Empty for Envoy's."""
    insecure_skip_verify: bool | None = None
    """Clients' certificates are asked for, but not verified."""


class Port(Model, frozen=True, kw_only=True):
    """The port of a server."""

    number: UInt32
    """Where the listener binds; a Service that selects the gateway may map it to another port."""
    protocol: str
    """`HTTP`, `HTTP2`, `GRPC`, `GRPC-WEB`: requests; `HTTPS`, `TLS`: as `tls` says; `TCP`, `MONGO` and so on: bytes."""
    name: str
    """Part of the route table's name where TLS ends."""
    target_port: UInt32 = 0


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
    """Name of its statistics, where TLS ends; else without effect."""


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
