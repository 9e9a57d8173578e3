"""What the CRDs of the Gateway API refuse beyond types: their patterns, bounds and CEL rules, release 1.6.

Also refused is what Envoy would refuse: regular expressions that are not RE2.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from fairlead.models.base import KubernetesObject, Model
from fairlead.models.gateway_api import (
    BackendObjectReference,
    CookieLifetimeType,
    FromNamespaces,
    FrontendTLSConfig,
    Gateway,
    GatewayAddress,
    GatewayClass,
    GatewayInfrastructure,
    HTTPCORSFilter,
    HTTPExternalAuthFilter,
    HTTPHeaderFilter,
    HTTPHeaderMatch,
    HTTPPathMatch,
    HTTPPathModifier,
    HTTPQueryParamMatch,
    HTTPRequestMirrorFilter,
    HTTPRoute,
    HTTPRouteFilter,
    HTTPRouteFilterType,
    HTTPRouteMatch,
    HTTPRouteRule,
    Listener,
    ParentReference,
    PathMatchType,
    PathModifierType,
    ReferenceGrant,
    SessionPersistence,
    SessionPersistenceType,
    TLSMode,
    ValueMatchType,
)
from fairlead.problems import FieldPath, Problem, error, warning
from fairlead.validation import common

_DNS_LABEL = re.compile(r"(?=.{1,63}\Z)[a-z0-9](?:[-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN_PATTERN = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*"
_SUBDOMAIN = re.compile(rf"(?=.{{1,253}}\Z){_SUBDOMAIN_PATTERN}")
_HOSTNAME = re.compile(rf"(?=.{{1,253}}\Z)(?:\*\.)?{_SUBDOMAIN_PATTERN}")
_KIND = re.compile(r"(?=.{1,63}\Z)[a-zA-Z](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?")
_CONTROLLER = re.compile(rf"(?=.{{1,253}}\Z){_SUBDOMAIN_PATTERN}/[A-Za-z0-9/\-._~%!$&'()*+,;=:]+")
_PROTOCOL = re.compile(
    rf"(?=.{{1,255}}\Z)(?:[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?|{_SUBDOMAIN_PATTERN}/[A-Za-z0-9]+)"
)
_ADDRESS_TYPE = re.compile(rf"Hostname|IPAddress|NamedAddress|{_CONTROLLER.pattern}")
_LABEL_KEY = re.compile(rf"(?:{_SUBDOMAIN_PATTERN}/)?(?:[A-Za-z0-9][-A-Za-z0-9_.]{{0,61}})?[A-Za-z0-9]")
_LABEL_VALUE = re.compile(r"(?=.{0,63}\Z)(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
_PATH = re.compile(r"(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})+")
_HEADER_VALUE = re.compile(r"(?=.{1,4096}\Z)[!-~]+(?:[\t ]?[!-~]+)*")
_ORIGIN = re.compile(r"\*|https?://(?:(?:\*\.)?(?:[a-zA-Z0-9-]+\.)*[a-zA-Z0-9-]+|\*)(?::[0-9]{1,5})?")
_PARTS_OF_REFERENCES = (
    ("group", _SUBDOMAIN, "API group"),
    ("kind", _KIND, "kind"),
    ("name", re.compile(r".{1,253}", re.DOTALL), "name of an object"),
    ("namespace", _DNS_LABEL, "name of a namespace"),
    ("section_name", _SUBDOMAIN, "name of a listener"),
)

_Problems = Iterator[Problem]


def _matches(text: str, pattern: re.Pattern[str], what: str, path: FieldPath) -> _Problems:
    if not pattern.fullmatch(text):
        yield error("invalid-value", f"{text!r} is no {what}", path=path)


def _hostname(text: str, path: FieldPath, *, wildcard: bool = True) -> _Problems:
    if not (_HOSTNAME if wildcard else _SUBDOMAIN).fullmatch(text):
        hint = "use lower-case letters, digits, - and ." + (", with *. at the beginning for all subdomains" * wildcard)
        yield error("invalid-host", f"{text!r} is no host name that can be used here", path=path, hint=hint)


def _reference(reference: Model, path: FieldPath, required: tuple[str, ...] = ("kind", "name")) -> _Problems:
    """The parts of any of the API's references, as far as it has them; those that are not required may be empty."""
    for field, pattern, what in _PARTS_OF_REFERENCES:
        text = getattr(reference, field, "")
        if text or field in required:
            yield from _matches(text, pattern, what, (*path, common.api_name(reference, field)))


def _backend(reference: BackendObjectReference, path: FieldPath) -> _Problems:
    yield from _reference(reference, path)
    if (reference.group, reference.kind, reference.port) == ("", "Service", None):
        yield error("missing-field", "a reference to a Service needs a port", path=(*path, "port"))


# --- GatewayClass, Gateway, ReferenceGrant ----------------------------------------------------------------------------


def gateway_class(obj: GatewayClass) -> _Problems:
    """What is wrong with a GatewayClass."""
    path = ("spec", "controllerName")
    yield from _matches(obj.spec.controller_name, _CONTROLLER, "name of a controller, such as example.com/name", path)
    if len(obj.spec.description) > 64:
        yield error("invalid-value", "the description has more than 64 characters", path=("spec", "description"))
    if obj.spec.parameters_ref is not None:
        yield from _reference(obj.spec.parameters_ref, ("spec", "parametersRef"))


def reference_grant(obj: ReferenceGrant) -> _Problems:
    """What is wrong with a ReferenceGrant."""
    both: tuple[tuple[str, tuple[Model, ...], tuple[str, ...]], ...] = (
        ("from", obj.spec.from_, ("kind", "namespace")),
        ("to", obj.spec.to, ("kind",)),
    )
    for name, references, required in both:
        path: FieldPath = ("spec", name)
        if not references:
            yield error("missing-field", f"{name} is empty", path=path)
        yield from common.at_most(references, 16, path)
        for index, reference in enumerate(references):
            yield from _reference(reference, (*path, index), required)


def gateway(obj: Gateway) -> _Problems:
    """What is wrong with a Gateway."""
    spec = obj.spec
    if not 1 <= len(spec.gateway_class_name) <= 253:
        yield error("invalid-value", "the name of a GatewayClass is missing", path=("spec", "gatewayClassName"))
    yield from _addresses(spec.addresses)
    yield from _listeners(spec.listeners)
    if spec.infrastructure is not None:
        yield from _infrastructure(spec.infrastructure)
    if spec.tls is None:
        return
    if spec.tls.backend is not None and spec.tls.backend.client_certificate_ref is not None:
        yield from _reference(
            spec.tls.backend.client_certificate_ref, ("spec", "tls", "backend", "clientCertificateRef")
        )
    if spec.tls.frontend is not None:
        path: FieldPath = ("spec", "tls", "frontend")
        yield from _frontend_tls(spec.tls.frontend.default, (*path, "default"))
        ports = spec.tls.frontend.per_port
        yield from common.at_most(ports, 64, (*path, "perPort"))
        yield from common.unique(((p.port, (*path, "perPort", i, "port")) for i, p in enumerate(ports)), "port")
        for index, entry in enumerate(ports):
            yield from _frontend_tls(entry.tls, (*path, "perPort", index, "tls"))


def _addresses(addresses: tuple[GatewayAddress, ...]) -> _Problems:
    path = ("spec", "addresses")
    yield from common.at_most(addresses, 16, path)
    given = [
        ((address.type, address.value), (*path, index, "value"))
        for index, address in enumerate(addresses)
        if address.value and address.type in {"IPAddress", "Hostname"}
    ]
    yield from common.unique(given, "address")
    for index, address in enumerate(addresses):
        yield from _matches(address.type, _ADDRESS_TYPE, "type of an address", (*path, index, "type"))
    for (kind, value), where in given:
        if kind == "Hostname":
            yield from _hostname(value, where)
        elif not common.is_ip_address(value):
            # Kubernetes accepts it, and the rest of the Gateway can be served.
            yield warning("invalid-value", f"{value!r} is no IP address", path=where)


def _infrastructure(infrastructure: GatewayInfrastructure) -> _Problems:
    path = ("spec", "infrastructure")
    for name, values, limit in (("labels", infrastructure.labels, 8), ("annotations", infrastructure.annotations, 16)):
        yield from common.at_most(values, limit, (*path, name))
        for key, value in values.items():
            yield from _matches(key, _LABEL_KEY, "key of a label or annotation", (*path, name, key))
            if name == "labels":
                yield from _matches(value, _LABEL_VALUE, "value of a label", (*path, name, key))
    if infrastructure.parameters_ref is not None:
        yield from _reference(infrastructure.parameters_ref, (*path, "parametersRef"))


def _frontend_tls(config: FrontendTLSConfig, path: FieldPath) -> _Problems:
    if config.validation is None:
        return
    path = (*path, "validation", "caCertificateRefs")
    references = config.validation.ca_certificate_refs
    if not references:
        yield error("missing-field", "caCertificateRefs is empty", path=path)
    yield from common.at_most(references, 16, path)
    for index, reference in enumerate(references):
        yield from _reference(reference, (*path, index))


def _listeners(listeners: tuple[Listener, ...]) -> _Problems:
    path = ("spec", "listeners")
    if not listeners:
        yield error("missing-field", "listeners is empty", path=path)
    yield from common.at_most(listeners, 64, path)
    yield from common.unique(((one.name, (*path, i, "name")) for i, one in enumerate(listeners)), "listener name")
    first: dict[tuple[int, str, str], str] = {}
    for index, listener in enumerate(listeners):
        where = (*path, index)
        yield from _listener(listener, where)
        other = first.setdefault((listener.port, listener.protocol, listener.hostname), listener.name)
        if other != listener.name:
            message = f"the listener has port, protocol and hostname in common with {other!r}"
            yield error("duplicate-value", message, path=where)


def _listener(listener: Listener, path: FieldPath) -> _Problems:
    yield from _matches(listener.name, _SUBDOMAIN, "name of a listener", (*path, "name"))
    yield from _matches(listener.protocol, _PROTOCOL, "protocol", (*path, "protocol"))
    if listener.hostname:
        yield from _hostname(listener.hostname, (*path, "hostname"))
        if listener.protocol in {"TCP", "UDP"}:
            message = f"a listener of protocol {listener.protocol} cannot have a hostname"
            yield error("invalid-value", message, path=(*path, "hostname"))
    yield from common.at_most(listener.allowed_routes.kinds, 8, (*path, "allowedRoutes", "kinds"))
    for index, kind in enumerate(listener.allowed_routes.kinds):
        yield from _reference(kind, (*path, "allowedRoutes", "kinds", index), ("kind",))
    if listener.allowed_routes.namespaces.from_ is FromNamespaces.NONE:
        message = "'None' is no value of this field; it has to be All, Selector or Same"
        yield error("invalid-value", message, path=(*path, "allowedRoutes", "namespaces", "from"))
    yield from _listener_tls(listener, path)


def _listener_tls(listener: Listener, path: FieldPath) -> _Problems:
    tls = listener.tls
    if tls is None:
        if listener.protocol == "TLS":
            yield error("missing-field", "a listener of protocol TLS needs tls", path=(*path, "tls"))
        return
    if listener.protocol in {"HTTP", "TCP", "UDP"}:
        message = f"a listener of protocol {listener.protocol} cannot have tls"
        yield error("invalid-value", message, path=(*path, "tls"))
    if listener.protocol == "HTTPS" and tls.mode is not TLSMode.TERMINATE:
        message = "a listener of protocol HTTPS has to terminate TLS"
        yield error("invalid-value", message, path=(*path, "tls", "mode"), hint="use protocol TLS to pass it through")
    if tls.mode is TLSMode.TERMINATE and not tls.certificate_refs and not tls.options:
        yield error("missing-field", "certificateRefs is empty", path=(*path, "tls", "certificateRefs"))
    yield from common.at_most(tls.certificate_refs, 64, (*path, "tls", "certificateRefs"))
    yield from common.at_most(tls.options, 16, (*path, "tls", "options"))
    for index, reference in enumerate(tls.certificate_refs):
        yield from _reference(reference, (*path, "tls", "certificateRefs", index))


# --- HTTPRoute --------------------------------------------------------------------------------------------------------


def http_route(obj: HTTPRoute) -> _Problems:
    """What is wrong with an HTTPRoute."""
    spec = obj.spec
    yield from _parents(spec.parent_refs)
    yield from common.at_most(spec.hostnames, 16, ("spec", "hostnames"))
    for index, hostname in enumerate(spec.hostnames):
        yield from _hostname(hostname, ("spec", "hostnames", index))
    path = ("spec", "rules")
    if not spec.rules:
        yield error(
            "missing-field", "rules is empty", path=path, hint="leave it out for a rule that takes all requests"
        )
    yield from common.at_most(spec.rules, 16, path)
    matches = sum(len(rule.matches) for rule in spec.rules)
    if matches > 128:
        yield error("too-many", f"there are {matches} matches in all rules together, 128 are allowed", path=path)
    names = ((rule.name, (*path, index, "name")) for index, rule in enumerate(spec.rules) if rule.name)
    yield from common.unique(names, "name of a rule")
    for index, rule in enumerate(spec.rules):
        yield from _rule(rule, (*path, index))


def _parents(parents: tuple[ParentReference, ...]) -> _Problems:
    path = ("spec", "parentRefs")
    yield from common.at_most(parents, 32, path)
    first: dict[tuple[str, ...], ParentReference] = {}
    for index, parent in enumerate(parents):
        yield from _reference(parent, (*path, index))
        other = first.setdefault((parent.group, parent.kind, parent.namespace, parent.name), parent)
        if bool(parent.section_name) != bool(other.section_name) or (parent.port is None) != (other.port is None):
            message = f"all references to {parent.name} need a sectionName, or all a port, to tell them apart"
            yield error("missing-field", message, path=(*path, index))
    yield from common.unique(
        (
            ((p.group, p.kind, p.namespace, p.name, p.section_name, p.port), (*path, index))
            for index, p in enumerate(parents)
        ),
        "reference to a parent",
    )


def _rule(rule: HTTPRouteRule, path: FieldPath) -> _Problems:
    if rule.name:
        yield from _matches(rule.name, _SUBDOMAIN, "name of a rule", (*path, "name"))
    yield from common.at_most(rule.matches, 64, (*path, "matches"))
    for index, match in enumerate(rule.matches):
        yield from _match(match, (*path, "matches", index))
    yield from _filters(rule.filters, rule, (*path, "filters"))
    yield from common.at_most(rule.backend_refs, 16, (*path, "backendRefs"))
    for index, backend in enumerate(rule.backend_refs):
        yield from _backend(backend, (*path, "backendRefs", index))
        yield from _filters(backend.filters, rule, (*path, "backendRefs", index, "filters"))
    if rule.backend_refs and any(one.type is HTTPRouteFilterType.REQUEST_REDIRECT for one in rule.filters):
        message = "a rule that redirects cannot have backendRefs"
        yield error("conflicting-fields", message, path=(*path, "backendRefs"))
    if rule.timeouts is not None:
        request, backend_request = rule.timeouts.request, rule.timeouts.backend_request
        if request and backend_request and backend_request > request:
            message = "the timeout of a backendRequest cannot be longer than that of the request"
            yield error("invalid-value", message, path=(*path, "timeouts", "backendRequest"))
    if rule.retry is not None:
        codes = ((code, (*path, "retry", "codes", index)) for index, code in enumerate(rule.retry.codes))
        yield from common.unique(codes, "status code")
    if rule.session_persistence is not None:
        yield from _session_persistence(rule.session_persistence, (*path, "sessionPersistence"))


def _session_persistence(session: SessionPersistence, path: FieldPath) -> _Problems:
    if len(session.session_name) > 128:
        yield error("invalid-value", "the name has more than 128 characters", path=(*path, "sessionName"))
    cookie = session.cookie_config
    if cookie is None:
        return
    if session.type is not SessionPersistenceType.COOKIE:
        yield error("conflicting-fields", "cookieConfig is for sessions of type Cookie", path=(*path, "cookieConfig"))
    if cookie.lifetime_type is CookieLifetimeType.PERMANENT and session.absolute_timeout is None:
        yield error("missing-field", "a permanent cookie needs absoluteTimeout", path=(*path, "absoluteTimeout"))


def _match(match: HTTPRouteMatch, path: FieldPath) -> _Problems:
    yield from _path_match(match.path, (*path, "path"))
    both: tuple[tuple[str, tuple[HTTPHeaderMatch | HTTPQueryParamMatch, ...], int], ...] = (
        ("headers", match.headers, 4096),
        ("queryParams", match.query_params, 1024),
    )
    for field, conditions, longest in both:
        yield from common.at_most(conditions, 16, (*path, field))
        names = ((one.name, (*path, field, index, "name")) for index, one in enumerate(conditions))
        yield from common.unique(names, "name")
        for index, condition in enumerate(conditions):
            where = (*path, field, index)
            yield from common.header_name(condition.name, (*where, "name"))
            if not 1 <= len(condition.value) <= longest:
                message = f"a value of 1 to {longest} characters is needed"
                yield error("invalid-value", message, path=(*where, "value"))
            elif field == "headers" and not _HEADER_VALUE.fullmatch(condition.value):
                yield error("invalid-header", "no header can have this value", path=(*where, "value"))
            if condition.type is ValueMatchType.REGULAR_EXPRESSION:
                yield from common.regex(condition.value, (*where, "value"))


def _path_match(match: HTTPPathMatch, path: FieldPath) -> _Problems:
    path = (*path, "value")
    value = match.value
    if len(value) > 1024:
        yield error("invalid-value", "the path has more than 1024 characters", path=path)
    if match.type is PathMatchType.REGULAR_EXPRESSION:
        yield from common.regex(value, path)
    elif not value.startswith("/"):
        yield error("invalid-path", f"the path {value!r} does not begin with /", path=path, hint=f"write /{value}")
    elif not _PATH.fullmatch(value):
        hint = "write other characters as % and two hexadecimal digits"
        yield error("invalid-path", f"the path {value!r} has characters that a path cannot have", path=path, hint=hint)
    else:
        for part in ("//", "/./", "/../", "%2f", "%2F"):
            if part in value:
                yield error("invalid-path", f"the path {value!r} has {part} in it, which never matches", path=path)
        for end in ("/..", "/."):
            if value.endswith(end):
                yield error("invalid-path", f"the path {value!r} ends with {end}, which never matches", path=path)


_FIELD_OF_TYPE = {
    HTTPRouteFilterType.REQUEST_HEADER_MODIFIER: "request_header_modifier",
    HTTPRouteFilterType.RESPONSE_HEADER_MODIFIER: "response_header_modifier",
    HTTPRouteFilterType.REQUEST_MIRROR: "request_mirror",
    HTTPRouteFilterType.REQUEST_REDIRECT: "request_redirect",
    HTTPRouteFilterType.URL_REWRITE: "url_rewrite",
    HTTPRouteFilterType.EXTENSION_REF: "extension_ref",
    HTTPRouteFilterType.CORS: "cors",
    HTTPRouteFilterType.EXTERNAL_AUTH: "external_auth",
}
_REPEATABLE = {
    HTTPRouteFilterType.REQUEST_MIRROR,
    HTTPRouteFilterType.EXTENSION_REF,
    HTTPRouteFilterType.EXTERNAL_AUTH,
}


def _filters(filters: tuple[HTTPRouteFilter, ...], rule: HTTPRouteRule, path: FieldPath) -> _Problems:
    yield from common.at_most(filters, 16, path)
    kinds = [(one.type, index) for index, one in enumerate(filters)]
    once = ((kind.value, (*path, index)) for kind, index in kinds if kind not in _REPEATABLE)
    yield from common.unique(once, "filter")
    types = {kind for kind, _ in kinds}
    if {HTTPRouteFilterType.REQUEST_REDIRECT, HTTPRouteFilterType.URL_REWRITE} <= types:
        yield error("conflicting-fields", "RequestRedirect and URLRewrite cannot be used together", path=path)
    for index, one in enumerate(filters):
        yield from _filter(one, rule, (*path, index))


def _filter(one: HTTPRouteFilter, rule: HTTPRouteRule, path: FieldPath) -> _Problems:
    yield from _filter_fields(one, path)
    if one.request_header_modifier is not None:
        yield from _headers(one.request_header_modifier, (*path, "requestHeaderModifier"))
    if one.response_header_modifier is not None:
        yield from _headers(one.response_header_modifier, (*path, "responseHeaderModifier"))
    if one.request_mirror is not None:
        yield from _mirror(one.request_mirror, (*path, "requestMirror"))
    if one.request_redirect is not None:
        where = (*path, "requestRedirect")
        if one.request_redirect.hostname:
            yield from _hostname(one.request_redirect.hostname, (*where, "hostname"), wildcard=False)
        if one.request_redirect.status_code not in {301, 302, 303, 307, 308}:
            message = f"{one.request_redirect.status_code} is none of the status codes 301, 302, 303, 307 and 308"
            yield error("invalid-status", message, path=(*where, "statusCode"))
        yield from _path_modifier(one.request_redirect.path, rule, (*where, "path"))
    if one.url_rewrite is not None:
        where = (*path, "urlRewrite")
        if one.url_rewrite.hostname:
            yield from _hostname(one.url_rewrite.hostname, (*where, "hostname"), wildcard=False)
        yield from _path_modifier(one.url_rewrite.path, rule, (*where, "path"))
    if one.extension_ref is not None:
        yield from _reference(one.extension_ref, (*path, "extensionRef"))
    if one.cors is not None:
        yield from _cors(one.cors, (*path, "cors"))
    if one.external_auth is not None:
        yield from _external_auth(one.external_auth, (*path, "externalAuth"))


def _filter_fields(one: HTTPRouteFilter, path: FieldPath) -> _Problems:
    """Of the fields of a filter the one that belongs to its type has to be set, and no other."""
    for kind, field in _FIELD_OF_TYPE.items():
        name = common.api_name(one, field)
        if kind is one.type and getattr(one, field) is None:
            message = f"a filter of type {kind.value} needs {name}"
            yield error("missing-field", message, path=(*path, name))
        elif kind is not one.type and getattr(one, field) is not None:
            message = f"{name} belongs to filters of type {kind.value}, not {one.type.value}"
            yield error("conflicting-fields", message, path=(*path, name))


def _changed_header(name: str, path: FieldPath) -> _Problems:
    yield from common.header_name(name, path)
    if name.lower() == "host":  # Envoy refuses the whole route configuration (HttpConnectionManager, custom headers)
        hint = "use a filter of type URLRewrite with hostname"
        yield error("invalid-header", "Envoy does not change Host like other headers", path=path, hint=hint)


def _headers(headers: HTTPHeaderFilter, path: FieldPath) -> _Problems:
    for field, given in (("set", headers.set), ("add", headers.add)):
        yield from common.at_most(given, 16, (*path, field))
        yield from common.unique(((h.name, (*path, field, i, "name")) for i, h in enumerate(given)), "header")
        for index, header in enumerate(given):
            yield from _changed_header(header.name, (*path, field, index, "name"))
            if not _HEADER_VALUE.fullmatch(header.value):
                yield error("invalid-header", "no header can have this value", path=(*path, field, index, "value"))
    yield from common.at_most(headers.remove, 16, (*path, "remove"))
    yield from common.unique(((name, (*path, "remove", i)) for i, name in enumerate(headers.remove)), "header")
    for index, name in enumerate(headers.remove):
        yield from _changed_header(name, (*path, "remove", index))


def _mirror(mirror: HTTPRequestMirrorFilter, path: FieldPath) -> _Problems:
    yield from _backend(mirror.backend_ref, (*path, "backendRef"))
    yield from common.at_most_one(mirror, ("percent", "fraction"), path)
    if mirror.fraction is not None and mirror.fraction.numerator > mirror.fraction.denominator:
        yield error("invalid-value", "the fraction is greater than 1", path=(*path, "fraction", "numerator"))


def _path_modifier(modifier: HTTPPathModifier | None, rule: HTTPRouteRule, path: FieldPath) -> _Problems:
    if modifier is None:
        return
    for kind, field, value in (
        (PathModifierType.REPLACE_FULL_PATH, "replaceFullPath", modifier.replace_full_path),
        (PathModifierType.REPLACE_PREFIX_MATCH, "replacePrefixMatch", modifier.replace_prefix_match),
    ):
        if kind is modifier.type and value is None:
            yield error("missing-field", f"a change of type {kind.value} needs {field}", path=(*path, field))
        elif kind is not modifier.type and value is not None:
            message = f"{field} belongs to type {kind.value}, not {modifier.type.value}"
            yield error("conflicting-fields", message, path=(*path, field))
        if value is not None and len(value) > 1024:
            yield error("invalid-value", "the path has more than 1024 characters", path=(*path, field))
    if modifier.type is PathModifierType.REPLACE_PREFIX_MATCH:
        prefixes = [match for match in rule.matches if match.path.type is PathMatchType.PATH_PREFIX]
        if len(rule.matches) != 1 or not prefixes:
            message = "ReplacePrefixMatch needs a rule with exactly one match, and that of type PathPrefix"
            yield error("invalid-value", message, path=(*path, "type"))


def _cors(cors: HTTPCORSFilter, path: FieldPath) -> _Problems:
    for field, values, limit in (
        ("allowOrigins", cors.allow_origins, 64),
        ("allowMethods", cors.allow_methods, 9),
        ("allowHeaders", cors.allow_headers, 64),
        ("exposeHeaders", cors.expose_headers, 64),
    ):
        where = (*path, field)
        yield from common.at_most(values, limit, where)
        yield from common.unique(((value, (*where, index)) for index, value in enumerate(values)), "entry")
        if "*" in values and len(values) > 1 and field != "exposeHeaders":
            yield error("invalid-value", f"{field} cannot have other entries beside *", path=where)
        for index, value in enumerate(values):
            if field == "allowOrigins":
                yield from _matches(value, _ORIGIN, "origin, such as https://example.com", (*where, index))
            elif field == "allowMethods":
                methods = {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "*"}
                if value not in methods:
                    yield error("invalid-value", f"{value!r} is no method", path=(*where, index))
            else:
                yield from common.header_name(value, (*where, index))


def _external_auth(auth: HTTPExternalAuthFilter, path: FieldPath) -> _Problems:
    yield from _backend(auth.backend_ref, (*path, "backendRef"))
    for field, value in (("GRPC", auth.grpc), ("HTTP", auth.http)):
        name = field.lower()
        if auth.protocol.value == field and value is None:
            yield error("missing-field", f"protocol {field} needs {name}", path=(*path, name))
        elif auth.protocol.value != field and value is not None:
            yield error("conflicting-fields", f"{name} belongs to protocol {field}", path=(*path, name))
    if auth.http is None:
        return
    if auth.http.path:
        yield from _matches(auth.http.path, _PATH, "path", (*path, "http", "path"))
    for field, names in (
        ("allowedHeaders", auth.http.allowed_headers),
        ("allowedResponseHeaders", auth.http.allowed_response_headers),
    ):
        yield from common.unique(((name, (*path, "http", field, i)) for i, name in enumerate(names)), "header")


RULES: dict[type[KubernetesObject], Callable[[Any], Iterable[Problem]]] = {
    GatewayClass: gateway_class,
    Gateway: gateway,
    HTTPRoute: http_route,
    ReferenceGrant: reference_grant,
}
"""The rules of each kind."""
