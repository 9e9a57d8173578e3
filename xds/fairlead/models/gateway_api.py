"""The Kubernetes Gateway API, release 1.6: fields and defaults of its CRDs, the experimental channel included."""

import enum
from typing import Annotated, ClassVar

import msgspec

from fairlead.models.base import Duration, KubernetesObject, Model, PortNumber
from fairlead.models.label_selector import LabelSelector

GROUP = "gateway.networking.k8s.io"


# --- References and selectors -----------------------------------------------------------------------------------------


class SecretObjectReference(Model, frozen=True, kw_only=True):
    """Reference to a certificate and its key."""

    name: str
    group: str = ""
    kind: str = "Secret"
    namespace: str = ""
    """Empty: that of the referring object."""


class ObjectReference(Model, frozen=True, kw_only=True):
    """Reference to any object, such as a ConfigMap with CA certificates, or settings of an implementation."""

    group: str
    kind: str
    name: str
    namespace: str = ""
    """Empty: that of the referring object."""


class LocalObjectReference(Model, frozen=True, kw_only=True):
    """Reference to any object of the same namespace."""

    group: str
    kind: str
    name: str


class BackendObjectReference(Model, frozen=True, kw_only=True):
    """Reference to where requests go."""

    name: str
    group: str = ""
    kind: str = "Service"
    namespace: str = ""
    """Empty: that of the route."""
    port: PortNumber | None = None
    """Port of the Service, not of its endpoints; required for a Service."""


class ParentReference(Model, frozen=True, kw_only=True):
    """What a route wants to be attached to."""

    name: str
    group: str = GROUP
    kind: str = "Gateway"
    namespace: str = ""
    """Empty: that of the route."""
    section_name: str = ""
    """Name of a listener; empty for all."""
    port: PortNumber | None = None
    """Attach to listeners of this port only."""


class GatewayClassSpec(Model, frozen=True, kw_only=True):
    """Which controller serves Gateways of a class."""

    controller_name: str
    description: str = ""
    parameters_ref: ObjectReference | None = None


class GatewayClass(KubernetesObject, frozen=True, kw_only=True):
    """A class of Gateways."""

    group: ClassVar[str] = GROUP
    kind: ClassVar[str] = "GatewayClass"
    versions: ClassVar[tuple[str, ...]] = ("v1", "v1beta1")
    namespaced: ClassVar[bool] = False

    spec: GatewayClassSpec


# --- Gateway ----------------------------------------------------------------------------------------------------------


class FromNamespaces(enum.Enum):
    """Namespaces that objects may be attached from."""

    ALL = "All"
    SELECTOR = "Selector"
    SAME = "Same"
    NONE = "None"


class RouteNamespaces(Model, frozen=True, kw_only=True):
    """Namespaces that routes may be attached from."""

    from_: FromNamespaces = msgspec.field(default=FromNamespaces.SAME, name="from")
    selector: LabelSelector | None = None


class RouteGroupKind(Model, frozen=True, kw_only=True):
    """A kind of route."""

    kind: str
    group: str = GROUP


class AllowedRoutes(Model, frozen=True, kw_only=True):
    """Which routes may be attached to a listener."""

    namespaces: RouteNamespaces = RouteNamespaces()
    kinds: tuple[RouteGroupKind, ...] = ()
    """Empty: those that fit the protocol."""


class TLSMode(enum.Enum):
    """Where TLS ends."""

    TERMINATE = "Terminate"
    PASSTHROUGH = "Passthrough"


class ListenerTLS(Model, frozen=True, kw_only=True):
    """TLS of a listener."""

    mode: TLSMode = TLSMode.TERMINATE
    certificate_refs: tuple[SecretObjectReference, ...] = ()
    options: dict[str, str] = msgspec.field(default_factory=dict)


class Listener(Model, frozen=True, kw_only=True):
    """A port that a Gateway listens on, or a host name there."""

    name: str
    port: PortNumber
    protocol: str
    """`HTTP`, `HTTPS`, `TLS`, `TCP`, `UDP`, or a name with the domain of an implementation before it."""
    hostname: str = ""
    """Empty for all host names."""
    tls: ListenerTLS | None = None
    allowed_routes: AllowedRoutes = AllowedRoutes()


class GatewayAddress(Model, frozen=True, kw_only=True):
    """An address that a Gateway asks for."""

    value: str = ""
    type: str = "IPAddress"


class ListenerNamespaces(Model, frozen=True, kw_only=True):
    """Namespaces that ListenerSets may be attached from."""

    from_: FromNamespaces = msgspec.field(default=FromNamespaces.NONE, name="from")
    selector: LabelSelector | None = None


class AllowedListeners(Model, frozen=True, kw_only=True):
    """Which ListenerSets may be attached to a Gateway."""

    namespaces: ListenerNamespaces = ListenerNamespaces()


class GatewayInfrastructure(Model, frozen=True, kw_only=True):
    """What is passed on to the resources that are made for a Gateway."""

    labels: dict[str, str] = msgspec.field(default_factory=dict)
    annotations: dict[str, str] = msgspec.field(default_factory=dict)
    parameters_ref: LocalObjectReference | None = None


class GatewayBackendTLS(Model, frozen=True, kw_only=True):
    """How a Gateway identifies itself to backends."""

    client_certificate_ref: SecretObjectReference | None = None


class FrontendValidationMode(enum.Enum):
    """What happens to clients without a valid certificate."""

    ALLOW_VALID_ONLY = "AllowValidOnly"
    ALLOW_INSECURE_FALLBACK = "AllowInsecureFallback"


class FrontendTLSValidation(Model, frozen=True, kw_only=True):
    """How certificates of clients are checked."""

    ca_certificate_refs: tuple[ObjectReference, ...]
    mode: FrontendValidationMode = FrontendValidationMode.ALLOW_VALID_ONLY


class FrontendTLSConfig(Model, frozen=True, kw_only=True):
    """TLS towards clients."""

    validation: FrontendTLSValidation | None = None


class FrontendTLSPort(Model, frozen=True, kw_only=True):
    """TLS towards clients on one port."""

    port: PortNumber
    tls: FrontendTLSConfig


class GatewayFrontendTLS(Model, frozen=True, kw_only=True):
    """TLS towards clients, in general and by port."""

    default: FrontendTLSConfig
    per_port: tuple[FrontendTLSPort, ...] = ()


class GatewayTLS(Model, frozen=True, kw_only=True):
    """TLS of a whole Gateway."""

    backend: GatewayBackendTLS | None = None
    frontend: GatewayFrontendTLS | None = None


class GatewayDefaultScope(enum.Enum):
    """Whether a Gateway is a default one."""

    ALL = "All"
    NONE = "None"


class GatewaySpec(Model, frozen=True, kw_only=True):
    """What a Gateway listens on."""

    gateway_class_name: str
    listeners: tuple[Listener, ...]
    addresses: tuple[GatewayAddress, ...] = ()
    infrastructure: GatewayInfrastructure | None = None
    allowed_listeners: AllowedListeners = AllowedListeners()
    tls: GatewayTLS | None = None
    default_scope: GatewayDefaultScope = GatewayDefaultScope.NONE


class Gateway(KubernetesObject, frozen=True, kw_only=True):
    """Entrance for traffic."""

    group: ClassVar[str] = GROUP
    kind: ClassVar[str] = "Gateway"
    versions: ClassVar[tuple[str, ...]] = ("v1", "v1beta1")

    spec: GatewaySpec


# --- HTTPRoute --------------------------------------------------------------------------------------------------------


class PathMatchType(enum.Enum):
    """How a path is compared; a prefix consists of whole path elements."""

    EXACT = "Exact"
    PATH_PREFIX = "PathPrefix"
    REGULAR_EXPRESSION = "RegularExpression"


class ValueMatchType(enum.Enum):
    """How a header or query parameter is compared."""

    EXACT = "Exact"
    REGULAR_EXPRESSION = "RegularExpression"


class HTTPMethod(enum.Enum):
    """Methods that can be matched."""

    GET = "GET"
    HEAD = "HEAD"
    POST = "POST"
    PUT = "PUT"
    DELETE = "DELETE"
    CONNECT = "CONNECT"
    OPTIONS = "OPTIONS"
    TRACE = "TRACE"
    PATCH = "PATCH"


class HTTPPathMatch(Model, frozen=True, kw_only=True):
    """Condition on the path."""

    type: PathMatchType = PathMatchType.PATH_PREFIX
    value: str = "/"


class HTTPHeaderMatch(Model, frozen=True, kw_only=True):
    """Condition on a header; its name is case-insensitive."""

    name: str
    value: str
    type: ValueMatchType = ValueMatchType.EXACT


class HTTPQueryParamMatch(Model, frozen=True, kw_only=True):
    """Condition on a query parameter; its name is case-sensitive."""

    name: str
    value: str
    type: ValueMatchType = ValueMatchType.EXACT


class HTTPRouteMatch(Model, frozen=True, kw_only=True):
    """Conditions that all have to hold."""

    path: HTTPPathMatch = HTTPPathMatch()
    headers: tuple[HTTPHeaderMatch, ...] = ()
    query_params: tuple[HTTPQueryParamMatch, ...] = ()
    method: HTTPMethod | None = None


class HTTPHeader(Model, frozen=True, kw_only=True):
    """A header and its value."""

    name: str
    value: str


class HTTPHeaderFilter(Model, frozen=True, kw_only=True):
    """Changes of headers: those to replace, to add to, and to take away."""

    set: tuple[HTTPHeader, ...] = ()
    add: tuple[HTTPHeader, ...] = ()
    remove: tuple[str, ...] = ()


class Fraction(Model, frozen=True, kw_only=True):
    """A part of all requests."""

    numerator: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
    denominator: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)] = 100


class HTTPRequestMirrorFilter(Model, frozen=True, kw_only=True):
    """Copy requests to a second backend and ignore its responses."""

    backend_ref: BackendObjectReference
    percent: Annotated[int, msgspec.Meta(ge=0, le=100)] | None = None
    fraction: Fraction | None = None


class PathModifierType(enum.Enum):
    """What of a path is replaced."""

    REPLACE_FULL_PATH = "ReplaceFullPath"
    REPLACE_PREFIX_MATCH = "ReplacePrefixMatch"


class HTTPPathModifier(Model, frozen=True, kw_only=True):
    """A change of the path."""

    type: PathModifierType
    replace_full_path: str | None = None
    replace_prefix_match: str | None = None


class RedirectScheme(enum.Enum):
    """Schemes that can be redirected to."""

    HTTP = "http"
    HTTPS = "https"


class HTTPRequestRedirectFilter(Model, frozen=True, kw_only=True):
    """Answer with a redirect."""

    scheme: RedirectScheme | None = None
    hostname: str = ""
    path: HTTPPathModifier | None = None
    port: PortNumber | None = None
    status_code: int = 302


class HTTPURLRewriteFilter(Model, frozen=True, kw_only=True):
    """Change host name and path before the request goes on."""

    hostname: str = ""
    path: HTTPPathModifier | None = None


class HTTPCORSFilter(Model, frozen=True, kw_only=True):
    """Cross-origin resource sharing."""

    allow_origins: tuple[str, ...] = ()
    allow_credentials: bool = False
    allow_methods: tuple[str, ...] = ()
    allow_headers: tuple[str, ...] = ()
    expose_headers: tuple[str, ...] = ()
    max_age: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)] = 5
    """Seconds."""


class ExternalAuthProtocol(enum.Enum):
    """How an authorization service is asked."""

    HTTP = "HTTP"
    GRPC = "GRPC"


class ForwardBody(Model, frozen=True, kw_only=True):
    """How much of the body an authorization service is sent."""

    max_size: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Bytes; 0 for none."""


class GRPCAuthConfig(Model, frozen=True, kw_only=True):
    """Asking over gRPC."""

    allowed_headers: tuple[str, ...] = ()


class HTTPAuthConfig(Model, frozen=True, kw_only=True):
    """Asking over HTTP."""

    path: str = ""
    allowed_headers: tuple[str, ...] = ()
    allowed_response_headers: tuple[str, ...] = ()


class HTTPExternalAuthFilter(Model, frozen=True, kw_only=True):
    """Ask a service whether a request may pass."""

    protocol: ExternalAuthProtocol
    backend_ref: BackendObjectReference
    grpc: GRPCAuthConfig | None = None
    http: HTTPAuthConfig | None = None
    forward_body: ForwardBody | None = None


class HTTPRouteFilterType(enum.Enum):
    """Kinds of filters."""

    REQUEST_HEADER_MODIFIER = "RequestHeaderModifier"
    RESPONSE_HEADER_MODIFIER = "ResponseHeaderModifier"
    REQUEST_MIRROR = "RequestMirror"
    REQUEST_REDIRECT = "RequestRedirect"
    URL_REWRITE = "URLRewrite"
    EXTENSION_REF = "ExtensionRef"
    CORS = "CORS"
    EXTERNAL_AUTH = "ExternalAuth"


class HTTPRouteFilter(Model, frozen=True, kw_only=True):
    """One step on a request's way; exactly the field that `type` names is set."""

    type: HTTPRouteFilterType
    request_header_modifier: HTTPHeaderFilter | None = None
    response_header_modifier: HTTPHeaderFilter | None = None
    request_mirror: HTTPRequestMirrorFilter | None = None
    request_redirect: HTTPRequestRedirectFilter | None = None
    url_rewrite: HTTPURLRewriteFilter | None = None
    extension_ref: LocalObjectReference | None = None
    cors: HTTPCORSFilter | None = None
    external_auth: HTTPExternalAuthFilter | None = None


class HTTPBackendRef(BackendObjectReference, frozen=True, kw_only=True):
    """A backend, its share of the requests, and filters for these."""

    weight: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 1
    filters: tuple[HTTPRouteFilter, ...] = ()


class HTTPRouteTimeouts(Model, frozen=True, kw_only=True):
    """How long requests may take; 0 is no limit, None says nothing."""

    request: Duration | None = None
    backend_request: Duration | None = None


class HTTPRouteRetry(Model, frozen=True, kw_only=True):
    """When a request is sent again."""

    codes: tuple[Annotated[int, msgspec.Meta(ge=400, le=599)], ...] = ()
    attempts: Annotated[int, msgspec.Meta(ge=1)] | None = None
    backoff: Duration | None = None


class SessionPersistenceType(enum.Enum):
    """Where a session is remembered."""

    COOKIE = "Cookie"
    HEADER = "Header"


class CookieLifetimeType(enum.Enum):
    """How long a cookie lives."""

    PERMANENT = "Permanent"
    SESSION = "Session"


class CookieConfig(Model, frozen=True, kw_only=True):
    """The cookie of a session."""

    lifetime_type: CookieLifetimeType = CookieLifetimeType.SESSION


class SessionPersistence(Model, frozen=True, kw_only=True):
    """Requests of a session go to the same endpoint."""

    type: SessionPersistenceType = SessionPersistenceType.COOKIE
    session_name: str = ""
    absolute_timeout: Duration | None = None
    cookie_config: CookieConfig | None = None


class HTTPRouteRule(Model, frozen=True, kw_only=True):
    """Requests that match one of `matches` go to `backend_refs`. An empty `matches` takes all requests."""

    name: str = ""
    matches: tuple[HTTPRouteMatch, ...] = (HTTPRouteMatch(),)
    filters: tuple[HTTPRouteFilter, ...] = ()
    backend_refs: tuple[HTTPBackendRef, ...] = ()
    timeouts: HTTPRouteTimeouts | None = None
    retry: HTTPRouteRetry | None = None
    session_persistence: SessionPersistence | None = None


class HTTPRouteSpec(Model, frozen=True, kw_only=True):
    """Where requests for some host names go."""

    parent_refs: tuple[ParentReference, ...] = ()
    hostnames: tuple[str, ...] = ()
    """Empty: those of the listeners."""
    rules: tuple[HTTPRouteRule, ...] = (HTTPRouteRule(),)
    use_default_gateways: GatewayDefaultScope = GatewayDefaultScope.NONE


class HTTPRoute(KubernetesObject, frozen=True, kw_only=True):
    """Routes of HTTP requests."""

    group: ClassVar[str] = GROUP
    kind: ClassVar[str] = "HTTPRoute"
    versions: ClassVar[tuple[str, ...]] = ("v1", "v1beta1")

    spec: HTTPRouteSpec


class ReferenceGrantFrom(Model, frozen=True, kw_only=True):
    """Objects that may refer."""

    group: str
    kind: str
    namespace: str


class ReferenceGrantTo(Model, frozen=True, kw_only=True):
    """Objects that may be referred to."""

    group: str
    kind: str
    name: str = ""
    """Empty for all of the kind."""


class ReferenceGrantSpec(Model, frozen=True, kw_only=True):
    """Any of `from_` may refer to any of `to`."""

    from_: tuple[ReferenceGrantFrom, ...] = msgspec.field(name="from")
    to: tuple[ReferenceGrantTo, ...]


class ReferenceGrant(KubernetesObject, frozen=True, kw_only=True):
    """Permission for objects of other namespaces to refer to objects of this one."""

    group: ClassVar[str] = GROUP
    kind: ClassVar[str] = "ReferenceGrant"
    versions: ClassVar[tuple[str, ...]] = ("v1", "v1beta1")

    spec: ReferenceGrantSpec
