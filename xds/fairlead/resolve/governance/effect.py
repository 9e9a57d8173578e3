"""Rules that no route of the proxies that they are for has."""

from collections.abc import Iterator

from fairlead.derive import derived
from fairlead.intent import RuleName
from fairlead.models.asm.governing import Traffic
from fairlead.problems import Problem, Related, warning
from fairlead.resolve.governance import rules
from fairlead.resolve.governance.kinds import KINDS
from fairlead.resolve.governance.rules import Rule
from fairlead.resolve.scope import Role, Selection
from fairlead.world import World


def all_rules(world: World) -> Iterator[Rule]:
    """The rules of all objects; of one name there may be several, each for a host."""
    for kind in KINDS:
        for name in rules.rules(world, kind).keys():  # noqa: SIM118  # no dict: keys() records the reading
            yield from rules.rules(world, kind).get(name) or ()


@derived
def to_be_used(world: World, selection: Selection) -> frozenset[Rule]:
    """The rules for proxies of a selection, except those that each workload has for itself."""
    traffic = Traffic.GATEWAY if selection.role is Role.GATEWAY else Traffic.SIDECAR_OUTBOUND
    return frozenset(rule for kind in KINDS for rule in rules.of_selection(world, kind, selection, traffic))


def of_proxies(world: World, selection: Selection) -> dict[RuleName, Rule]:
    """For each name that rules for proxies of a selection have, one of these; those of single workloads included."""
    return {
        rule.name: rule
        for kind in KINDS
        for traffic in Traffic
        for rule in rules.of_selection(world, kind, selection, traffic)
    }


def proxies_of(rule: Rule) -> str:
    """The proxies that a rule is for, in words."""
    role = Role.GATEWAY if rule.traffic is Traffic.GATEWAY else Role.SIDECAR
    labels = ", ".join(f"{name}: {value}" for name, value in sorted(rule.labels))
    return f"{role.value} in namespace {rule.key.namespace}{f' with {labels}' if labels else ''}"


def without_effect(world: World, selection: Selection, rule: Rule) -> Problem:
    """Why no route of the proxies of a selection has the rule."""
    proxies = f"{selection.role.value}s in namespace {selection.namespace}"
    kind = next(kind for kind in KINDS if kind.model.kind == rule.key.kind)
    for other in rules.of_selection(world, kind, selection, rule.traffic):
        same = (other.host, other.port, other.route) == (rule.host, rule.port, rule.route)
        if same and other.age < rule.age:
            return warning(
                "no-matching-request",
                f"at {proxies} {other.key} is about the same requests, and is older or comes first by its name",
                key=rule.key,
                path=rule.path,
                hint="join the two, or name other requests",
                related=(Related("this one has effect", other.key, other.path),),
            )
    port = f" for port {rule.port}" if rule.port else ""
    route = f" with a route named {rule.route}" if rule.route else ""
    forwarded = " that requests are forwarded by" if kind.only_forwarded else ""
    return warning(
        "no-matching-request",
        f"{proxies} have no virtual host {rule.host}{port}{route}{forwarded}, so that it has no effect",
        key=rule.key,
        path=rule.path,
        hint="the port is the one that the Gateway's server, or the service, declares" if rule.port else "",
    )
