"""How objects of the Gateway API name each other, and which references to other namespaces are permitted."""

from collections.abc import Iterable
from typing import NamedTuple

from fairlead.derive import Collection, derived_index
from fairlead.models.gateway_api import Gateway, HTTPRoute, ReferenceGrant
from fairlead.problems import ObjectKey
from fairlead.world import ObjectName, World


class Permission(NamedTuple):
    """What one line of a ReferenceGrant's `from`, together with one of its `to`, permits."""

    from_group: str
    from_kind: str
    from_namespace: str
    to_group: str
    to_kind: str
    to_namespace: str
    to_name: str
    """Empty for all objects of the kind."""


def gateway_key(name: ObjectName) -> ObjectKey:
    """Identity of the Gateway of that name."""
    return ObjectKey(Gateway.group, Gateway.kind, name.namespace, name.name)


def http_route_key(name: ObjectName) -> ObjectKey:
    """Identity of the HTTPRoute of that name."""
    return ObjectKey(HTTPRoute.group, HTTPRoute.kind, name.namespace, name.name)


def is_permitted(world: World, referrer: ObjectKey, target: ObjectKey) -> bool:
    """Whether an object may refer to another: one of its own namespace, or one that a ReferenceGrant shares with it.

    Groups, kinds and namespaces have to be equal, see gateway-api.sigs.k8s.io/api-types/referencegrant.
    """
    if referrer.namespace == target.namespace:
        return True
    wanted = Permission(*referrer[:3], *target)
    grants = _by_permission(world)
    return any(grants.get(permission) is not None for permission in (wanted, wanted._replace(to_name="")))


def _reference_grants(world: World) -> Collection[ObjectName, ReferenceGrant]:
    return world.objects(ReferenceGrant)


@derived_index(_reference_grants)
def _by_permission(_world: World, name: ObjectName, grant: ReferenceGrant) -> Iterable[Permission]:
    for source in grant.spec.from_:
        for target in grant.spec.to:
            yield Permission(
                source.group, source.kind, source.namespace, target.group, target.kind, name.namespace, target.name
            )
