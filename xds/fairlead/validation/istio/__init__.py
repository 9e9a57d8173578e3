"""Rules for the kinds of Istio's API, after those of Istio's own webhook."""

import itertools
from collections.abc import Callable, Iterable
from typing import Any

from fairlead.models.base import KubernetesObject
from fairlead.models.core import ConfigMap
from fairlead.models.istio.destination_rule import DestinationRule
from fairlead.models.istio.gateway import Gateway
from fairlead.models.istio.service_entry import ServiceEntry
from fairlead.models.istio.sidecar import Sidecar
from fairlead.models.istio.virtual_service import VirtualService
from fairlead.models.istio.workload_entry import WorkloadEntry
from fairlead.problems import Problem
from fairlead.validation.istio.destination_rule import destination_rule
from fairlead.validation.istio.gateway import gateway
from fairlead.validation.istio.mesh_config import config_map
from fairlead.validation.istio.service_entry import service_entry
from fairlead.validation.istio.sidecar import sidecar
from fairlead.validation.istio.unsupported import unsupported
from fairlead.validation.istio.virtual_service import virtual_service
from fairlead.validation.istio.workload_entry import workload_entry

_Rules = Callable[[Any], Iterable[Problem]]

_OF_KINDS: dict[type[KubernetesObject], _Rules] = {
    ConfigMap: config_map,
    DestinationRule: destination_rule,
    Gateway: gateway,
    ServiceEntry: service_entry,
    Sidecar: sidecar,
    VirtualService: virtual_service,
    WorkloadEntry: workload_entry,
}


def _completed(rules: _Rules) -> _Rules:
    return lambda obj: itertools.chain(rules(obj), unsupported(obj))


RULES: dict[type[KubernetesObject], _Rules] = {kind: _completed(rules) for kind, rules in _OF_KINDS.items()}
"""What is wrong with an object of a kind: paths start at its root, and no problem names the object."""
