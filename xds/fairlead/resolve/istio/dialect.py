"""Istio's answers to the questions that every dialect is asked."""

from typing import Any

from fairlead.derive import Collection
from fairlead.problems import Problem
from fairlead.resolve import mesh
from fairlead.resolve.istio import gateways, sidecars, virtual_services
from fairlead.resolve.istio.connections import connection_routes
from fairlead.resolve.istio.gateways import selectors, servers
from fairlead.resolve.istio.virtual_services import host_routes, labels, virtual_hosts
from fairlead.world import World

__all__ = ["connection_routes", "host_routes", "labels", "reviews", "selectors", "servers", "virtual_hosts"]


def reviews(world: World) -> tuple[Collection[Any, tuple[Problem, ...]], ...]:
    """What is wrong with the MeshConfig, Gateways, VirtualServices and Sidecars, whatever the proxy."""
    return mesh.reviews(world), gateways.reviews(world), virtual_services.reviews(world), sidecars.reviews(world)
