"""What stands for a resource that does not exist, where Envoy would otherwise wait for it.

A cluster warms until its endpoints come, and a listener until its routes do, for 15 seconds by default. Told that
there are none, as an empty resource of that name, both are ready at once and answer 503 or 404.
"""

from fairlead.snapshot import wire
from fairlead.snapshot.resource import Resource
from fairlead.snapshot.types import CLUSTER_LOAD_ASSIGNMENT, ROUTE_CONFIGURATION

_NAME_FIELD = 1
"""Of `ClusterLoadAssignment.cluster_name` and of `RouteConfiguration.name`."""


def empty_cluster_load_assignment(name: str) -> Resource:
    """A ClusterLoadAssignment without endpoints."""
    return _nothing_but_name(CLUSTER_LOAD_ASSIGNMENT, name)


def empty_route_configuration(name: str) -> Resource:
    """A RouteConfiguration without virtual hosts."""
    return _nothing_but_name(ROUTE_CONFIGURATION, name)


def _nothing_but_name(type_url: str, name: str) -> Resource:
    return Resource(type_url, name, wire.length_delimited(_NAME_FIELD, name.encode()))
