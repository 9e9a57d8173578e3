"""What is wrong with the objects that apply to proxies, as it came to light when they were translated."""

from collections.abc import Hashable, Iterable
from typing import Any

from fairlead.derive import Collection, derived_index, derived_map
from fairlead.intent import (
    Backend,
    Cluster,
    Credential,
    EndpointAssignment,
    HttpConnections,
    Listener,
    RuleName,
    VirtualHost,
)
from fairlead.problems import Problem
from fairlead.resolve import clusters, credentials, listeners
from fairlead.resolve.dialect import Dialect, VirtualHostKey
from fairlead.resolve.dialects import DIALECTS
from fairlead.resolve.governance import effect, global_limits, scheduling
from fairlead.resolve.governance.rules import Rule
from fairlead.resolve.outcome import Outcome
from fairlead.resolve.scope import Locality, Selection
from fairlead.resolve.sidecar import listeners as sidecar_listening
from fairlead.translation import (
    cluster_outcomes,
    credential_outcomes,
    endpoint_outcomes,
    hosts_of,
    listener_outcomes,
    sidecar_outcomes,
)
from fairlead.world import World


@derived_index(listener_outcomes)
def _problems_of_listeners(
    _world: World, _selection: Selection, _name: str, outcome: Outcome[Listener | None]
) -> Iterable[Problem]:
    return outcome.problems


@derived_index(sidecar_outcomes)
def _problems_of_sidecars(
    _world: World, _selection: Selection, _key: sidecar_listening.Key, outcome: Outcome[Listener | None]
) -> Iterable[Problem]:
    return outcome.problems


@derived_index(hosts_of)
def _problems_of_virtual_hosts(
    _world: World, _selection: Selection, _key: VirtualHostKey, outcome: Outcome[VirtualHost]
) -> Iterable[Problem]:
    return outcome.problems


@derived_index(hosts_of)
def rules_in_use(
    _world: World, _selection: Selection, _key: VirtualHostKey, outcome: Outcome[VirtualHost]
) -> Iterable[RuleName]:
    """Name of a rule of ASM -> the virtual hosts with routes that it is for."""
    return {policy.name for route in outcome.value.routes for policy in route.policies}


def rules_in_force(world: World, selection: Selection) -> frozenset[RuleName]:
    """The rules and scheduling policies that some route of proxies has, those of their own workload included."""
    found: set[RuleName] = set()
    if effect.to_be_used(world, selection.shared):  # or else there would be an index that nobody else reads, nor drops
        found.update(rules_in_use(world, selection.shared).keys())
    elif scheduling.has_outbound(world):
        hosts = hosts_of(world, selection.shared)
        for host in hosts.keys():  # noqa: SIM118  # no dict
            if (of_host := hosts.get(host)) is not None:
                found.update(policy.name for route in of_host.value.routes for policy in route.policies)
    if selection.workload is not None:
        outcomes = sidecar_outcomes(world, selection)
        for key in outcomes.keys():  # noqa: SIM118  # no dict
            outcome = outcomes.get(key)
            for chain in () if outcome is None or outcome.value is None else outcome.value.filter_chains:
                if isinstance(chain.connections, HttpConnections) and chain.connections.inline is not None:
                    found.update(policy.name for route in chain.connections.inline.routes for policy in route.policies)
    return frozenset(found)


@derived_map(effect.to_be_used)
def _unused_rules(world: World, selection: Selection, rule: Rule) -> tuple[Problem, ...] | None:
    if rules_in_use(world, selection).get(rule.name) is not None:
        return None
    return (effect.without_effect(world, selection, rule),)


@derived_index(_unused_rules)
def _problems_of_rules(
    _world: World, _selection: Selection, _rule: Rule, problems: tuple[Problem, ...]
) -> Iterable[Problem]:
    return problems


@derived_map(global_limits.asked)
def _unusable_services(world: World, selection: Selection, asked: global_limits.Asked) -> tuple[Problem, ...]:
    return global_limits.unusable(world, selection, asked)


@derived_index(_unusable_services)
def _problems_of_rate_limit_services(
    _world: World, _selection: Selection, _asked: global_limits.Asked, problems: tuple[Problem, ...]
) -> Iterable[Problem]:
    return problems


@derived_index(cluster_outcomes)
def _problems_of_clusters(
    _world: World, _selection: Selection, _backend: Backend, outcome: Outcome[Cluster | None]
) -> Iterable[Problem]:
    return outcome.problems


def _assignments_to_judge(
    world: World, selection: Selection, locality: Locality
) -> Collection[Backend, Outcome[EndpointAssignment | None]]:
    return endpoint_outcomes(world, selection, locality)


@derived_index(_assignments_to_judge)
def _problems_of_endpoints(
    _world: World,
    _selection: Selection,
    _locality: Locality,
    _backend: Backend,
    outcome: Outcome[EndpointAssignment | None],
) -> Iterable[Problem]:
    return outcome.problems


@derived_map(listener_outcomes)
def _references_of_listeners(world: World, selection: Selection, name: str) -> tuple[Problem, ...]:
    return listeners.faulty_credentials(world, selection, name)


@derived_index(cluster_outcomes)
def _clusters_with_tls(
    _world: World, _selection: Selection, backend: Backend, outcome: Outcome[Cluster | None]
) -> Iterable[Backend]:
    if outcome.value is not None and outcome.value.tls is not None:
        yield backend


@derived_map(_clusters_with_tls)
def _references_of_clusters(world: World, selection: Selection, backend: Backend) -> tuple[Problem, ...]:
    return clusters.faulty_credentials(world, selection.viewer, backend)


@derived_index(_references_of_listeners)
def _faulty_references_of_listeners(
    _world: World, _selection: Selection, _name: str, problems: tuple[Problem, ...]
) -> Iterable[Problem]:
    return problems


@derived_index(_references_of_clusters)
def _faulty_references_of_clusters(
    _world: World, _selection: Selection, _backend: Backend, problems: tuple[Problem, ...]
) -> Iterable[Problem]:
    return problems


@derived_index(credential_outcomes)
def _problems_of_credentials(
    _world: World, _selection: Selection, _name: str, outcome: Outcome[Credential | None]
) -> Iterable[Problem]:
    return (problem for problem in outcome.problems if problem.code not in credentials.ABOUT_REFERENCES)


def _reviews(world: World, dialect: Dialect, number: int) -> Collection[Hashable, tuple[Problem, ...]]:
    return dialect.reviews(world)[number]


@derived_index(_reviews)
def _problems_of_reviews(
    _world: World, _dialect: Dialect, _number: int, _key: Hashable, problems: tuple[Problem, ...]
) -> Iterable[Problem]:
    return problems


def review_indexes(world: World) -> list[Collection[Problem, Any]]:
    """What is wrong with objects whatever the proxy: problem -> where it was found."""
    return [
        _problems_of_reviews(world, dialect, number)
        for dialect in DIALECTS
        for number in range(len(dialect.reviews(world)))
    ]


def problem_indexes(world: World, selection: Selection, locality: Locality) -> list[Collection[Problem, Any]]:
    """What is wrong with the objects that apply to the proxies of a selection: problem -> where it was found.

    Each index comes after those that it is built on; so to refresh them in this order is done in small steps.
    """
    of_workload = [] if selection.workload is None else [_problems_of_sidecars(world, selection)]
    selection = selection.shared
    return [
        _problems_of_virtual_hosts(world, selection),
        _problems_of_rules(world, selection),
        _problems_of_rate_limit_services(world, selection),
        _problems_of_listeners(world, selection),
        _problems_of_clusters(world, selection),
        _problems_of_endpoints(world, selection, locality),
        _problems_of_credentials(world, selection),
        _faulty_references_of_listeners(world, selection),
        _faulty_references_of_clusters(world, selection),
        *of_workload,
    ]


def review_problems(world: World) -> set[Problem]:
    """What is wrong with objects whatever the proxy."""
    return set[Problem]().union(*(index.keys() for index in review_indexes(world)))


def problems(world: World, selection: Selection, locality: Locality) -> set[Problem]:
    """What is wrong with the objects that apply to the proxies of a selection."""
    return set[Problem]().union(*(index.keys() for index in problem_indexes(world, selection, locality)))
