"""What routes say of the rules that are about their requests."""

from dataclasses import replace

from fairlead.intent import Forward, Route, RouteBreaker, RoutePolicy
from fairlead.resolve.governance import rules, scheduling
from fairlead.resolve.governance.breakers import of_circuit
from fairlead.resolve.governance.kinds import KINDS
from fairlead.resolve.governance.rules import Rule, Target
from fairlead.resolve.scope import Selection
from fairlead.world import World


def governed(world: World, selection: Selection, target: Target, routes: tuple[Route, ...]) -> tuple[Route, ...]:
    """The routes of a virtual host with their policies.

    Of each kind that names virtual hosts there is one at most: a rule for a route goes before one for the whole virtual
    host, one with a name before one for any, and the older of two for the same before the other.
    """
    for kind in KINDS:
        if found := rules.chosen(world, kind, selection, target):
            routes = tuple(
                _governed(route, found, target)
                if isinstance(route.action, Forward) or not kind.only_forwarded
                else route
                for route in routes
            )
    return scheduling.scheduled(world, target, routes)


def _governed(route: Route, found: list[Rule], target: Target) -> Route:
    for rule in sorted(found, key=lambda rule: not rule.route):
        # A route with several matches is several routes, called NAME.NAME-OF-MATCH.
        if not rule.route or route.name == rule.route or route.name.startswith(f"{rule.route}."):
            return replace(route, policies=(*route.policies, _policy(rule, target)))
    return route


def _policy(rule: Rule, target: Target) -> RoutePolicy:
    found = rule.policy.for_route
    return of_circuit(found, rule, target) if isinstance(found, RouteBreaker) else found
