"""In which ways the resource types differ, as data; all other code is the same for all of them.

Sources: https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol, and what Envoy 1.40 was seen to do.
"""

from collections.abc import Callable, Mapping

from fairlead.snapshot.absent import (
    empty_cluster_load_assignment,
    empty_route_configuration,
    empty_runtime,
    idle_extension_config,
)
from fairlead.snapshot.resource import Resource
from fairlead.snapshot.types import (
    CLUSTER,
    CLUSTER_LOAD_ASSIGNMENT,
    EXTENSION_CONFIG,
    LISTENER,
    ROUTE_CONFIGURATION,
    RUNTIME,
    SECRET,
    VIRTUAL_HOST,
)

IMPLICIT_WILDCARD = frozenset({CLUSTER, LISTENER, VIRTUAL_HOST})
"""Types of which a client that names none wants all. A client that names no endpoints, routes or secrets has none to
name yet. A request for virtual hosts names none either, and takes those that it is sent unasked."""

FULL_STATE = frozenset({CLUSTER, LISTENER})
"""Types of which a state-of-the-world response is complete: what is absent from it is deleted."""

DELTA_ONLY = frozenset({VIRTUAL_HOST})
"""Types that only the incremental variant has."""

UNDIVIDED = frozenset({VIRTUAL_HOST})
"""Types that are never split by size: a domain that moves from one virtual host to another does so within one
response, and a listener that has got the first part would answer 404 for the rest. Only Envoy asks for them, whose
own gRPC client takes messages of any size."""

REMOVAL_WAITS_FOR: Mapping[str, tuple[str, ...]] = {
    ROUTE_CONFIGURATION: (LISTENER,),
    CLUSTER: (EXTENSION_CONFIG, LISTENER, ROUTE_CONFIGURATION, VIRTUAL_HOST),
    CLUSTER_LOAD_ASSIGNMENT: (CLUSTER,),
    EXTENSION_CONFIG: (LISTENER,),
    SECRET: (CLUSTER, EXTENSION_CONFIG, LISTENER),
}
"""Make before break, the second half: a removal of the type waits until the types that can refer to it have been sent
and acknowledged. A cluster that is removed while a route still uses it answers 503."""

NAMED_IN_REFUSALS = frozenset({CLUSTER, LISTENER})
"""Types of which Envoy names the resources at fault when it refuses a response, and takes in the others of it."""

NEEDS_ITEMS = frozenset({LISTENER})
"""Types whose resources are nothing without items: Envoy refuses a listener without filter chains."""

NOT_ABOUT_CONTENT = ("cannot bind", "Address already in use")
"""What Envoy says when it refuses a listener because of the machine that it runs on: all of its content is innocent."""

EMPTY: Mapping[str, Callable[[str], Resource]] = {
    CLUSTER_LOAD_ASSIGNMENT: empty_cluster_load_assignment,
    EXTENSION_CONFIG: idle_extension_config,
    ROUTE_CONFIGURATION: empty_route_configuration,
    RUNTIME: empty_runtime,
}
"""Types whose absence is told by a resource of the name that was asked for, which holds nothing. Of other types, names
are in `removed_resources` (delta) or in `resource_errors` only, which Envoy ignores."""
