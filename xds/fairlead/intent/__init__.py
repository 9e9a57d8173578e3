"""The intermediate representation: what a proxy shall do, without a word of where it was written or of Envoy.

`fairlead.resolve` writes it from all dialects; `fairlead.render` turns it into Envoy messages and reads nothing else.
Order is meaning: routes are tried first to last, the first filter chain that matches serves. Every node that can be
at fault carries `origin`, the objects that it comes from. All types are immutable and compared by value.

Durations are whole nanoseconds, fractions whole parts per million.
"""

from fairlead.intent.backends import Backend
from fairlead.intent.base import Nanoseconds, Origin, PartsPerMillion
from fairlead.intent.credentials import AuthoritiesCredential, Credential, KeyPairCredential
from fairlead.intent.listening import (
    ClientCertificates,
    FilterChain,
    HttpConnections,
    Listener,
    RouteTable,
    TcpConnections,
    TlsTermination,
    Tunnel,
    WeightedBackend,
)
from fairlead.intent.matching import Match, PathMatch, PathMatchKind, StringMatch, StringMatchKind, ValueMatch
from fairlead.intent.routing import (
    Action,
    Cors,
    Destination,
    DirectResponse,
    Fault,
    Forward,
    HashKey,
    HashKeyKind,
    HeaderOperations,
    Mirror,
    PathRewrite,
    PathRewriteKind,
    Redirect,
    Retry,
    Route,
    VirtualHost,
)
from fairlead.intent.tls import KeyPairFiles, TlsParameters, TlsVersion, Validation
from fairlead.intent.upstream import (
    Cluster,
    ConnectionPool,
    Discovery,
    Endpoint,
    EndpointAssignment,
    LoadBalancer,
    LoadBalancing,
    LocalityEndpoints,
    OutlierDetection,
    Pings,
    RetryBudget,
    TcpKeepalive,
    TlsOrigination,
    UpstreamProtocol,
)

__all__ = [
    "Action",
    "AuthoritiesCredential",
    "Backend",
    "ClientCertificates",
    "Cluster",
    "ConnectionPool",
    "Cors",
    "Credential",
    "Destination",
    "DirectResponse",
    "Discovery",
    "Endpoint",
    "EndpointAssignment",
    "Fault",
    "FilterChain",
    "Forward",
    "HashKey",
    "HashKeyKind",
    "HeaderOperations",
    "HttpConnections",
    "KeyPairCredential",
    "KeyPairFiles",
    "Listener",
    "LoadBalancer",
    "LoadBalancing",
    "LocalityEndpoints",
    "Match",
    "Mirror",
    "Nanoseconds",
    "Origin",
    "OutlierDetection",
    "PartsPerMillion",
    "PathMatch",
    "PathMatchKind",
    "PathRewrite",
    "PathRewriteKind",
    "Pings",
    "Redirect",
    "Retry",
    "RetryBudget",
    "Route",
    "RouteTable",
    "StringMatch",
    "StringMatchKind",
    "TcpConnections",
    "TcpKeepalive",
    "TlsOrigination",
    "TlsParameters",
    "TlsTermination",
    "TlsVersion",
    "Tunnel",
    "UpstreamProtocol",
    "Validation",
    "ValueMatch",
    "VirtualHost",
    "WeightedBackend",
]
