"""VirtualServices that leave some of their routes to others (`http[].delegate`).

A delegate has no hosts. Its routes stand where the delegating route stood, each with every match that asks for what
both ask for (istio.io/latest/docs/reference/config/networking/virtual-service, `Delegate`). There is one level only.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from fairlead.models.istio.virtual_service import (
    Destination,
    HTTPMatchRequest,
    HTTPMirrorPolicy,
    HTTPRoute,
    StringMatch,
    VirtualService,
)
from fairlead.problems import FieldPath, ObjectKey
from fairlead.resolve import mesh, services
from fairlead.resolve.istio.references import MESH, gateway_name, virtual_service_key, visibility
from fairlead.resolve.istio.source import Source
from fairlead.world import ObjectName

_INHERITED = (
    "rewrite",
    "timeout",
    "retries",
    "fault",
    "mirror",
    "mirrors",
    "mirror_percent",
    "mirror_percentage",
    "cors_policy",
    "headers",
)
"""Fields that a delegate's route takes from the delegating one when it does not set them itself."""


@dataclass(frozen=True, slots=True)
class WrittenRoute:
    """A route, and where it is written."""

    route: HTTPRoute
    key: ObjectKey
    path: FieldPath
    origin: tuple[ObjectKey, ...]


def written_routes(source: Source, name: ObjectName) -> Iterator[WrittenRoute]:
    """The routes of a VirtualService in order, with those of its delegates in their places."""
    virtual_service = source.world.objects(VirtualService).get(name)
    if virtual_service is None:
        return
    for index, route in enumerate(virtual_service.spec.http):
        path = ("spec", "http", index)
        if route.delegate is None:
            yield WrittenRoute(route, virtual_service.key, path, (virtual_service.key,))
        else:
            yield from _delegated(source, name, route, path)


def _delegated(source: Source, name: ObjectName, root: HTTPRoute, path: FieldPath) -> Iterator[WrittenRoute]:
    assert root.delegate is not None
    delegate_name = ObjectName(root.delegate.namespace or name.namespace, root.delegate.name)
    delegate = source.world.objects(VirtualService).get(delegate_name)
    key = virtual_service_key(delegate_name)
    if delegate is None:
        message = f"the route is left out, since there is no {key} to delegate to"
        source.error("unknown-delegate", message, (*path, "delegate"))
        return
    exported = mesh.virtual_service_export(source.world, delegate.spec.export_to)
    if visibility(exported, delegate_name.namespace, name.namespace) is None:
        message = f"the route is left out, since {key} is not exported to namespace {name.namespace}"
        source.error("unknown-delegate", message, (*path, "delegate"), f"add {name.namespace} to its exportTo")
        return
    if delegate.spec.hosts:
        message = f"the route is left out, since {key} has hosts, which a delegate must not have"
        source.error("unknown-delegate", message, (*path, "delegate"), "remove its hosts")
        return
    for index, leaf in enumerate(delegate.spec.http):
        leaf_path = ("spec", "http", index)
        if leaf.delegate is not None:
            message = "the route is left out, since a delegate cannot delegate"
            source.of(key).error("nested-delegate", message, (*leaf_path, "delegate"))
            continue
        merged = _merge(root, name.namespace, leaf, delegate_name.namespace)
        if merged is None:
            message = f"the route is left out, since a match of it is not within those of {source.key}"
            hint = "give that match a route of its own, or remove it"
            source.of(key).warn("unreachable-route", message, (*leaf_path, "match"), hint)
        else:
            yield WrittenRoute(merged, key, leaf_path, (source.key, key))


def _merge(root: HTTPRoute, root_namespace: str, leaf: HTTPRoute, leaf_namespace: str) -> HTTPRoute | None:
    """The delegate's route as it is served; None when a match of it is outside of those of the root, as in Istio."""
    roots = tuple(_moved_match(match, root_namespace) for match in root.match)
    matches = leaf.match or roots
    if roots and leaf.match:
        leaves = tuple(_moved_match(match, leaf_namespace) for match in leaf.match)
        around = [[above for above in roots if not _conflict(above, below)] for below in leaves]
        if not all(around):
            return None
        pairs = zip(around, leaves, strict=True)
        matches = tuple(_merge_matches(above, below) for found, below in pairs for above in found)
    inherited = {field: getattr(root, field) for field in _INHERITED if not getattr(leaf, field)}
    for field in ("mirror", "mirrors"):
        if inherited.get(field):
            inherited[field] = _moved_mirrors(inherited[field], root_namespace)
    return leaf.__replace__(match=matches, name=_joined(root.name, leaf.name), **inherited)


def _moved_match(match: HTTPMatchRequest, namespace: str) -> HTTPMatchRequest:
    """The same match for an object of any namespace."""
    gateways = (text if text == MESH else "/".join(gateway_name(text, namespace)) for text in match.gateways)
    return match.__replace__(gateways=tuple(gateways)) if match.gateways else match


def _moved_mirrors(
    mirrors: Destination | tuple[HTTPMirrorPolicy, ...], namespace: str
) -> Destination | tuple[HTTPMirrorPolicy, ...]:
    """The same destinations for an object of any namespace."""
    if isinstance(mirrors, Destination):
        return mirrors.__replace__(host=services.qualify(mirrors.host, namespace))
    return tuple(item.__replace__(destination=_moved_mirrors(item.destination, namespace)) for item in mirrors)


# --- Two matches ------------------------------------------------------------------------------------------------------


def _merge_matches(root: HTTPMatchRequest, leaf: HTTPMatchRequest) -> HTTPMatchRequest:
    return HTTPMatchRequest(
        name=_joined(root.name, leaf.name),
        uri=leaf.uri or root.uri,
        scheme=leaf.scheme or root.scheme,
        method=leaf.method or root.method,
        authority=leaf.authority or root.authority,
        headers=root.headers | leaf.headers,
        port=leaf.port or root.port,
        source_labels=root.source_labels | leaf.source_labels,
        gateways=leaf.gateways or root.gateways,
        query_params=root.query_params | leaf.query_params,
        ignore_uri_case=leaf.ignore_uri_case or root.ignore_uri_case,
        without_headers=root.without_headers | leaf.without_headers,
        source_namespace=leaf.source_namespace or root.source_namespace,
        stat_prefix=leaf.stat_prefix or root.stat_prefix,
    )


def _conflict(root: HTTPMatchRequest, leaf: HTTPMatchRequest) -> bool:
    texts = [
        (root.uri, leaf.uri),
        (root.scheme, leaf.scheme),
        (root.method, leaf.method),
        (root.authority, leaf.authority),
        *((value, leaf.headers.get(name)) for name, value in root.headers.items()),
        *((value, leaf.without_headers.get(name)) for name, value in root.without_headers.items()),
        *((value, leaf.query_params.get(name)) for name, value in root.query_params.items()),
    ]
    both = [
        (root.port, leaf.port),
        (root.source_namespace, leaf.source_namespace),
        *((value, leaf.source_labels.get(name)) for name, value in root.source_labels.items()),
    ]
    return (
        root.ignore_uri_case != leaf.ignore_uri_case
        or any(above and below and above != below for above, below in both)
        or any(_texts_conflict(above, below) for above, below in texts)
        or bool(root.gateways and leaf.gateways and not set(leaf.gateways) <= set(root.gateways))
    )


def _texts_conflict(root: StringMatch | None, leaf: StringMatch | None) -> bool:
    """Whether what the delegate asks for is not surely within what the delegating route asks for."""
    if root is None or leaf is None:
        return False
    if root.regex is not None or leaf.regex is not None:
        return True
    below = leaf.exact if leaf.exact is not None else leaf.prefix
    if below is None:
        return False
    if root.exact is not None:
        return leaf.exact != root.exact
    return root.prefix is not None and not below.startswith(root.prefix)


def _joined(root: str, leaf: str) -> str:
    return f"{root}-{leaf}" if root and leaf else root or leaf
