"""Gateways: which proxies they are for, and what listens there."""

from collections.abc import Iterable
from dataclasses import dataclass

from fairlead.derive import Collection, derived, derived_index, derived_map
from fairlead.intent import TlsTermination
from fairlead.models.core import Secret
from fairlead.models.gateway_api import (
    FromNamespaces,
    Gateway,
    GatewayClass,
    GatewayDefaultScope,
    HTTPRoute,
    Listener,
    RouteNamespaces,
    SecretObjectReference,
)
from fairlead.models.label_selector import LABEL_OPERATORS
from fairlead.problems import FieldPath, ObjectKey, Problem, format_path, warning
from fairlead.resolve.dialect import Server, ServerProtocol
from fairlead.resolve.gateway_api.references import is_permitted
from fairlead.resolve.gateway_api.source import Source
from fairlead.resolve.outcome import Outcome
from fairlead.resolve.scope import Labels, Selection, Selector
from fairlead.world import ObjectName, World

CONTROLLER = "fairlead.dev/gateway-controller"
"""What a GatewayClass names so that its Gateways are served here."""
NAME_LABEL = "gateway.networking.k8s.io/gateway-name"
"""Label of the proxies that a Gateway is for; its value is the Gateway's name."""
EVERY_HOST = "*"

_CLASSES = frozenset({"fairlead", "istio"})
"""Classes that are served whether or not there is a GatewayClass."""
_PROTOCOLS = {"HTTP": ServerProtocol.HTTP, "HTTPS": ServerProtocol.HTTPS}


@dataclass(frozen=True, slots=True)
class GatewayListener:
    """A listener of a Gateway, as routes see it."""

    name: str
    port: int
    host: str
    """Lower case; `*` and `*.x` are wildcards."""
    namespaces: RouteNamespaces
    """Where HTTPRoutes may come from."""
    takes_http_routes: bool
    server: Server | None
    """None when it is not served."""


def _gateways(world: World) -> Collection[ObjectName, Gateway]:
    return world.objects(Gateway)


def _gateway_classes(world: World) -> Collection[ObjectName, GatewayClass]:
    return world.objects(GatewayClass)


# --- Which proxies Gateways are for -----------------------------------------------------------------------------------


def _is_ours(world: World, gateway: Gateway) -> bool:
    name = gateway.spec.gateway_class_name
    if name in _CLASSES:
        return True
    gateway_class = world.objects(GatewayClass).get(ObjectName("", name))
    return gateway_class is not None and gateway_class.spec.controller_name == CONTROLLER


@derived_map(_gateways)
def _selector_of(world: World, name: ObjectName) -> Selector | None:
    gateway = world.objects(Gateway).get(name)
    if gateway is None or not _is_ours(world, gateway):
        return None
    return Selector(name.namespace, Labels({(NAME_LABEL, name.name)}))


@derived_index(_selector_of)
def selectors(_world: World, _name: ObjectName, selector: Selector) -> Iterable[Selector]:
    """Selector -> the Gateways that have it; Gateways of other controllers are not among them."""
    yield selector


@derived
def gateways_of(world: World, selection: Selection) -> frozenset[ObjectName]:
    """The Gateways for the proxies of a selection."""
    return frozenset(name for wanted in selection.selectors for name in selectors(world).get(wanted) or ())


@derived
def servers(world: World, selection: Selection) -> tuple[Server, ...]:
    """The listeners that are served, of all Gateways for the proxies of a selection."""
    return tuple(
        listener.server
        for name in sorted(gateways_of(world, selection))
        for listener in listeners_of(world, name) or ()
        if listener.server is not None
    )


# --- What listens -----------------------------------------------------------------------------------------------------


@derived
def listeners_of(world: World, name: ObjectName) -> tuple[GatewayListener, ...] | None:
    """All listeners of a Gateway; None when there is no such Gateway, or another controller serves it."""
    translation = translations(world).get(name)
    return None if translation is None else translation.value


@derived_map(_gateways)
def translations(world: World, name: ObjectName) -> Outcome[tuple[GatewayListener, ...]] | None:
    """What each Gateway says, for whatever proxies."""
    gateway = world.objects(Gateway).get(name)
    if gateway is None or not _is_ours(world, gateway):
        return None
    source = Source(world, gateway.key)
    _tell_unsupported(gateway, source)
    bind = _bind(gateway, source)
    listeners = [
        _listener(gateway, declared, ("spec", "listeners", index), bind, source)
        for index, declared in enumerate(gateway.spec.listeners)
    ]
    return Outcome(tuple(listeners), tuple(source.problems))


def _bind(gateway: Gateway, source: Source) -> str:
    """The address that is bound, empty for the wildcard address."""
    bind = ""
    for index, address in enumerate(gateway.spec.addresses):
        if address.type == "IPAddress" and address.value and not bind:
            bind = address.value
        elif address.type != "IPAddress" or address.value:
            source.warn(
                "unsupported-value",
                "UnsupportedAddress: the address has no effect, since only one of type IPAddress can be bound",
                ("spec", "addresses", index),
                "leave it out; without addresses all addresses of the proxy's host are bound",
            )
    # What would bind the wildcard address anyway shares the listener, and the bind address of its proxies.
    return "" if bind == "0.0.0.0" else bind


def _listener(gateway: Gateway, declared: Listener, path: FieldPath, bind: str, source: Source) -> GatewayListener:
    _tell_unsupported_by_listener(declared, path, source)
    protocol = _PROTOCOLS.get(declared.protocol)
    tls: TlsTermination | None = None
    if protocol is ServerProtocol.HTTPS:
        tls = _termination(gateway, declared, path, source)
    host = declared.hostname.lower() or EVERY_HOST
    server = None
    if protocol is ServerProtocol.HTTP or (protocol is not None and tls is not None):
        server = Server(
            gateway=gateway.key,
            created=gateway.metadata.creation_timestamp or "",
            declared_by=gateway.key,
            path=path,
            name=declared.name,
            port=declared.port,
            bind=bind,
            protocol=protocol,
            hosts=(host,),
            route_table=_https_route_table(gateway, declared, bind) if protocol is ServerProtocol.HTTPS else "",
            tls=tls,
        )
    kinds = {(kind.group, kind.kind) for kind in declared.allowed_routes.kinds}
    return GatewayListener(
        name=declared.name,
        port=declared.port,
        host=host,
        namespaces=declared.allowed_routes.namespaces,
        takes_http_routes=protocol is not None and (not kinds or (HTTPRoute.group, HTTPRoute.kind) in kinds),
        server=server,
    )


def _https_route_table(gateway: Gateway, declared: Listener, bind: str) -> str:
    # Istio makes a Gateway of its own API of each listener, and names the only port of it `default`.
    name = f"{gateway.metadata.name}~istio-autogenerated-k8s-gateway~{declared.name}"
    table = f"https.{declared.port}.default.{name}.{gateway.metadata.namespace}"
    return f"{table}.{bind}" if bind else table


# --- TLS --------------------------------------------------------------------------------------------------------------


def _termination(gateway: Gateway, declared: Listener, path: FieldPath, source: Source) -> TlsTermination | None:
    """TLS of an HTTPS listener; None when it cannot be served."""
    validation = _client_validation(gateway, declared.port)
    if validation is not None:
        # Without the check clients would be let in that are not meant to be.
        message = f"listener {declared.name} is not served: certificates of clients cannot be checked yet"
        source.error("unsupported-field", message, validation)
        return None
    references = declared.tls.certificate_refs if declared.tls is not None else ()
    credentials = [
        name
        for index, reference in enumerate(references)
        if (name := _credential(reference, (*path, "tls", "certificateRefs", index), source))
    ]
    if not credentials:
        message = f"listener {declared.name} is not served: it has no certificate that can be used"
        where = path if declared.tls is None else (*path, "tls")
        source.error("no-certificate", message, where, "name a Secret with a certificate in tls.certificateRefs")
        return None
    return TlsTermination(tuple(dict.fromkeys(credentials)), alpn=("h2", "http/1.1"))


def _credential(reference: SecretObjectReference, path: FieldPath, source: Source) -> str:
    """The name by which proxies ask for a certificate, empty when they must not have it."""
    namespace = reference.namespace or source.key.namespace
    target = ObjectKey(reference.group, reference.kind, namespace, reference.name)
    if (target.group, target.kind) != (Secret.group, Secret.kind):
        message = f"InvalidCertificateRef: the certificate is left out, since {target} is no Secret"
        source.error("invalid-certificate-ref", message, path, "name a Secret")
        return ""
    if not is_permitted(source.world, source.key, target):
        message = f"RefNotPermitted: the certificate is left out, since no ReferenceGrant shares {target}"
        hint = f"put a ReferenceGrant from Gateway in {source.key.namespace} into {namespace}"
        source.error("ref-not-permitted", message, path, hint)
        return ""
    return f"kubernetes-gateway://{namespace}/{reference.name}"


def _client_validation(gateway: Gateway, port: int) -> FieldPath | None:
    """The field that asks for certificates of clients on a port."""
    frontend = gateway.spec.tls.frontend if gateway.spec.tls is not None else None
    if frontend is None:
        return None
    path = ("spec", "tls", "frontend")
    for index, entry in enumerate(frontend.per_port):
        if entry.port == port:
            return None if entry.tls.validation is None else (*path, "perPort", index, "tls", "validation")
    return None if frontend.default.validation is None else (*path, "default", "validation")


# --- What is not supported --------------------------------------------------------------------------------------------


def _tell_unsupported(gateway: Gateway, source: Source) -> None:
    spec = gateway.spec
    infrastructure = spec.infrastructure
    asked: dict[FieldPath, bool] = {
        ("infrastructure",): infrastructure is not None
        and bool(infrastructure.labels or infrastructure.annotations or infrastructure.parameters_ref),
        ("allowedListeners",): spec.allowed_listeners.namespaces.from_ is not FromNamespaces.NONE,
        ("tls", "backend"): spec.tls is not None
        and spec.tls.backend is not None
        and spec.tls.backend.client_certificate_ref is not None,
        ("defaultScope",): spec.default_scope is not GatewayDefaultScope.NONE,
    }
    for field, used in asked.items():
        if used:
            source.warn(
                "unsupported-field", f"{format_path(field)} has no effect, it is not supported", ("spec", *field)
            )


def _tell_unsupported_by_listener(declared: Listener, path: FieldPath, source: Source) -> None:
    if declared.protocol not in _PROTOCOLS:
        message = f"UnsupportedProtocol: listener {declared.name} is not served: {declared.protocol} is not supported"
        source.error("unsupported-value", message, (*path, "protocol"), f"use {' or '.join(_PROTOCOLS)}")
    for option in declared.tls.options if declared.tls is not None else ():
        message = f"the TLS option {option} has no effect, it is not supported"
        source.warn("unsupported-field", message, (*path, "tls", "options", option))
    path = (*path, "allowedRoutes")
    for index, kind in enumerate(declared.allowed_routes.kinds):
        if (kind.group, kind.kind) != (HTTPRoute.group, HTTPRoute.kind):
            message = f"InvalidRouteKinds: {kind.kind} of {kind.group or 'the core group'} is not supported"
            source.error("unsupported-value", message, (*path, "kinds", index))
    selector = declared.allowed_routes.namespaces.selector
    for index, asked in enumerate(selector.match_expressions if selector is not None else ()):
        if asked.operator not in LABEL_OPERATORS:
            message = f"{asked.operator} is no operator, so that the selector selects no namespace"
            where = (*path, "namespaces", "selector", "matchExpressions", index, "operator")
            source.error("invalid-value", message, where, f"use one of {', '.join(sorted(LABEL_OPERATORS))}")


# --- Reviews ----------------------------------------------------------------------------------------------------------


@derived_map(_gateways)
def reviews(world: World, name: ObjectName) -> tuple[Problem, ...] | None:
    """What is wrong with each Gateway."""
    translation = translations(world).get(name)
    if translation is not None:
        return translation.problems or None
    gateway = world.objects(Gateway).get(name)
    if gateway is None:
        return None
    class_name = gateway.spec.gateway_class_name
    if world.objects(GatewayClass).get(ObjectName("", class_name)) is not None:
        return None  # the class of another controller
    message = f"the Gateway is not served, since there is no GatewayClass {class_name}"
    hint = f"use the class fairlead, or add a GatewayClass with controllerName {CONTROLLER}"
    path = ("spec", "gatewayClassName")
    return (warning("unknown-gateway-class", message, key=gateway.key, path=path, hint=hint),)


@derived_map(_gateway_classes)
def class_reviews(world: World, name: ObjectName) -> tuple[Problem, ...] | None:
    """What is wrong with each GatewayClass of this controller."""
    gateway_class = world.objects(GatewayClass).get(name)
    if gateway_class is None or gateway_class.spec.controller_name != CONTROLLER:
        return None
    if gateway_class.spec.parameters_ref is None:
        return None
    message = "parametersRef has no effect, it is not supported"
    return (warning("unsupported-field", message, key=gateway_class.key, path=("spec", "parametersRef")),)
