"""How objects of Istio's API name each other, and who may see whom."""

from collections.abc import Collection

from fairlead.models.istio.gateway import Gateway
from fairlead.models.istio.virtual_service import VirtualService
from fairlead.problems import ObjectKey
from fairlead.world import ObjectName

MESH = "mesh"
"""The reserved name that stands for all sidecars."""


def is_for_sidecars_only(virtual_service: VirtualService) -> bool:
    """Whether no Gateway's proxies are routed by a VirtualService: it says so, or names no Gateway."""
    return all(gateway == MESH for gateway in virtual_service.spec.gateways)


def gateway_key(name: ObjectName) -> ObjectKey:
    """Identity of the Gateway of that name."""
    return ObjectKey(Gateway.group, Gateway.kind, name.namespace, name.name)


def virtual_service_key(name: ObjectName) -> ObjectKey:
    """Identity of the VirtualService of that name."""
    return ObjectKey(VirtualService.group, VirtualService.kind, name.namespace, name.name)


def gateway_name(reference: str, namespace: str) -> ObjectName:
    """The Gateway that an object of a namespace refers to; not for `MESH`.

    The forms are `name`, `namespace/name`, `./name` and, from before there was a slash, `name.namespace` with or
    without the rest of a domain.
    """
    if "/" in reference:
        owner, _, name = reference.partition("/")
        return ObjectName(namespace if owner == "." else owner, name)
    name, _, domain = reference.partition(".")
    return ObjectName(domain.partition(".")[0] or namespace, name)


def gateway_names(references: Collection[str], namespace: str) -> tuple[ObjectName, ...]:
    """The Gateways that an object of a namespace refers to, without `MESH`, each once and in order."""
    return tuple(dict.fromkeys(gateway_name(reference, namespace) for reference in references if reference != MESH))


def visibility(export_to: Collection[str], namespace: str, viewer: str) -> int | None:
    """How an object of a namespace is seen by a viewer's: 0 as its own, 1 as shared with it, 2 as public, None not.

    Istio lists objects in this order (istio.io/latest/docs/reference/config/networking/virtual-service, `exportTo`).
    """
    if not export_to or "*" in export_to:
        return 2
    named = {namespace if name == "." else name for name in export_to}
    if viewer not in named:
        return None
    return 0 if named == {namespace} else 1
