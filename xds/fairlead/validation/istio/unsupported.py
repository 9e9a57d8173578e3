"""Fields of Istio's API that are read and checked, but not acted upon: one table, for validation and documentation."""

import functools
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from fairlead.models.base import KubernetesObject, Model
from fairlead.models.fields import Field, fields_of, occurrences
from fairlead.problems import Problem, warning


class Unsupported(NamedTuple):
    """What to say of a field."""

    instead: str
    """What happens instead."""
    hint: str = ""
    """What to use; empty when nothing comes near."""


UNSUPPORTED: Mapping[str, Unsupported] = {
    "Abort.http2Error": Unsupported("no request is aborted by it", "use httpStatus or grpcStatus"),
    "Delay.exponentialDelay": Unsupported("no request is delayed by it", "use fixedDelay"),
    "L4MatchAttributes.sourceSubnet": Unsupported("connections from all addresses match", "leave it out"),
    "LoadBalancerSettings.zoneAwareLbSetting": Unsupported(
        "all zones are used alike", "use localityLbSetting with outlierDetection"
    ),
    "OutboundTrafficPolicy.egressProxy": Unsupported(
        "requests to unknown hosts are answered with 502", "route the hosts to it by a ServiceEntry and VirtualService"
    ),
    "Port.targetPort": Unsupported("a Service that selects the gateway says which port it listens on", "leave it out"),
    "RetryBudget.budgetInterval": Unsupported("the requests under way are what percent counts", "leave it out"),
    "Server.defaultEndpoint": Unsupported("requests go where routes send them", "route with a VirtualService"),
    "SidecarPort.targetPort": Unsupported("listeners have no other port", "leave it out"),
    "WorkloadEntrySpec.network": Unsupported(
        "the endpoint is reached directly, and left out without an address", "set address"
    ),
}
"""By message and field, as the reference on istio.io names them."""


def unsupported(obj: KubernetesObject) -> Iterator[Problem]:
    """The fields in use that are not acted upon."""
    for path, why in _paths(type(obj)):
        for place, _ in occurrences(obj, path):
            message = f"{path[-1].name} is not supported: {why.instead}"
            yield warning("unsupported-field", message, path=place, hint=why.hint)


def unsupported_field(field: Field) -> Unsupported | None:
    """What to say of a field, None when it is supported."""
    return UNSUPPORTED.get(f"{field.owner.__name__}.{field.name}")


@functools.cache
def _paths(kind: type[Any]) -> tuple[tuple[tuple[Field, ...], Unsupported], ...]:
    """Where below a kind the fields of the table are."""
    return tuple(_search(kind, ()))


def _search(
    model: type[KubernetesObject | Model], above: tuple[Field, ...]
) -> Iterator[tuple[tuple[Field, ...], Unsupported]]:
    for field in fields_of(model):
        path = (*above, field)
        why = unsupported_field(field)
        if why is not None:
            yield path, why
        elif field.model is not None:
            yield from _search(field.model, path)
