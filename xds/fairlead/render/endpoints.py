"""Endpoints, by locality."""

from collections.abc import Iterable

from fairlead._pb.envoy.config.core.v3 import health_check_pb2
from fairlead._pb.envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from fairlead.intent import Endpoint, LocalityEndpoints
from fairlead.render.encoding import write_address


def write_localities(message: endpoint_pb2.ClusterLoadAssignment, localities: Iterable[LocalityEndpoints]) -> None:
    """The endpoints of a cluster."""
    for locality in localities:
        _write_locality(message.endpoints.add(), locality)


def _write_locality(message: endpoint_components_pb2.LocalityLbEndpoints, locality: LocalityEndpoints) -> None:
    if locality.region or locality.zone or locality.subzone:
        place = message.locality
        place.region, place.zone, place.sub_zone = locality.region, locality.zone, locality.subzone
    message.priority = locality.priority
    if locality.weight is not None:
        message.load_balancing_weight.value = locality.weight
    for endpoint in locality.endpoints:
        _write_endpoint(message.lb_endpoints.add(), endpoint)


def _write_endpoint(message: endpoint_components_pb2.LbEndpoint, endpoint: Endpoint) -> None:
    write_address(message.endpoint.address, endpoint.address, endpoint.port)
    # What is not said is what Envoy takes for granted: weight 1, healthy.
    if endpoint.weight != 1:
        message.load_balancing_weight.value = endpoint.weight
    if not endpoint.healthy:
        message.health_status = health_check_pb2.UNHEALTHY
