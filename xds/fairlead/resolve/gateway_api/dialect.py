"""The Gateway API's answers to the questions that every dialect is asked."""

from collections.abc import Iterable
from typing import Any

from fairlead.derive import Collection, derived_index
from fairlead.models.gateway_api import Gateway
from fairlead.problems import Problem
from fairlead.resolve.dialect import ConnectionRoute, Server
from fairlead.resolve.gateway_api import attachment, gateways
from fairlead.resolve.gateway_api.gateways import selectors, servers
from fairlead.resolve.gateway_api.virtual_hosts import host_routes, virtual_hosts
from fairlead.resolve.outcome import Outcome
from fairlead.resolve.scope import Selection
from fairlead.world import ObjectName, World

__all__ = ["connection_routes", "host_routes", "labels", "reviews", "selectors", "servers", "virtual_hosts"]


def _gateways(world: World) -> Collection[ObjectName, Gateway]:
    return world.objects(Gateway)


@derived_index(_gateways)
def labels(_world: World, _name: ObjectName, _gateway: Gateway) -> Iterable[tuple[str, str]]:
    """Labels of proxies that routes ask for: none, in this API."""
    return ()


def connection_routes(_world: World, _selection: Selection, _server: Server) -> Outcome[tuple[ConnectionRoute, ...]]:
    """Where connections go that are not HTTP: nowhere, since no such listener is served."""
    return Outcome(())


def reviews(world: World) -> tuple[Collection[Any, tuple[Problem, ...]], ...]:
    """What is wrong with GatewayClasses, Gateways and HTTPRoutes, whatever the proxy."""
    return gateways.class_reviews(world), gateways.reviews(world), attachment.reviews(world)
