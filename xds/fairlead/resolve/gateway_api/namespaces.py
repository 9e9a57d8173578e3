"""Which namespaces routes may be attached from."""

from fairlead.models.core import Namespace
from fairlead.models.gateway_api import FromNamespaces, RouteNamespaces
from fairlead.world import ObjectName, World, labels_of_namespace, selects


def may_attach(world: World, allowed: RouteNamespaces, namespace: str, own: str) -> bool:
    """Whether routes of a namespace may be attached to what is in the namespace `own`."""
    match allowed.from_:
        case FromNamespaces.ALL:
            return True
        case FromNamespaces.SAME:
            return namespace == own
        case FromNamespaces.SELECTOR:
            found = world.objects(Namespace).get(ObjectName("", namespace))
            return allowed.selector is not None and selects(allowed.selector, labels_of_namespace(namespace, found))
        case FromNamespaces.NONE:
            return False
