"""DestinationRules that no proxy of a Gateway or Sidecar uses: what other sidecars would be told of them."""

from collections.abc import Iterator
from dataclasses import replace

from fairlead.models.core import Service
from fairlead.models.istio.destination_rule import DestinationRule
from fairlead.problems import ObjectKey, Problem, Severity
from fairlead.resolve import clusters, destination_rules, services
from fairlead.resolve.hosts import is_wildcard
from fairlead.resolve.scope import Labels, Selection, Viewer
from fairlead.resolve.services import ServiceView
from fairlead.translation import reachable_backends
from fairlead.world import World


def used(world: World, selection: Selection) -> Iterator[ObjectKey]:
    """The DestinationRules that hold for what the proxies of a selection reach."""
    for backend in reachable_backends(world, selection):
        yield from destination_rules.policy(world, selection.viewer, backend).origin


def problems(world: World, told: set[ObjectKey]) -> Iterator[Problem]:
    """What is wrong with DestinationRules, but for those that proxies are `told` of.

    They are warnings at most, for there may be no such sidecar.
    """
    for viewer, view in dict.fromkeys((*_services(world), *_clients(world))):
        rule = destination_rules.rule(world, viewer, view.host)
        if told.issuperset(rule.origin):
            continue
        for port in view.ports:
            for subset in ("", *rule.subsets):
                backend = services.backend(world, viewer.namespace, view.host, port.number, subset, port.number)
                for problem in clusters.cluster(world, viewer, backend).problems:
                    if problem.key in rule.origin and problem.key not in told:
                        severity = Severity.WARNING if problem.severity is Severity.ERROR else problem.severity
                        yield replace(problem, severity=severity)


def _services(world: World) -> Iterator[tuple[Viewer, ServiceView]]:
    """Each service, as sidecars beside it see it."""
    for namespace, host in _hosts(world):
        view = services.find(world, namespace, host)
        if view is not None:
            yield Viewer(namespace), view


def _hosts(world: World) -> Iterator[tuple[str, str]]:
    for host in services.entries_by_host(world).keys():  # noqa: SIM118  # no dict
        for name in services.entries_by_host(world).get(host) or ():
            yield name.namespace, host
    for name in world.objects(Service).keys():  # noqa: SIM118  # no dict
        yield name.namespace, f"{name.name}.{name.namespace}.{services.CLUSTER_DOMAIN}"


def _clients(world: World) -> Iterator[tuple[Viewer, ServiceView]]:
    """The service of each rule, as sidecars of the rule's namespace see it."""
    rules = world.objects(DestinationRule)
    for rule in filter(None, map(rules.get, rules.keys())):
        host = services.qualify(rule.spec.host, rule.metadata.namespace)
        view = None if is_wildcard(host) else services.find(world, rule.metadata.namespace, host)
        if view is not None:
            yield Viewer(rule.metadata.namespace, _labels(rule)), view


def _labels(rule: DestinationRule) -> Labels:
    selector = rule.spec.workload_selector
    return frozenset() if selector is None else frozenset(selector.match_labels.items())
