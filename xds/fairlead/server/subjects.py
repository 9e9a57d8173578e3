"""What an explanation needs of the world: where routes are written, who mentions a host, what is wrong with objects."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from fairlead import translation
from fairlead.explain import Explanation, Hint, Source, Subject
from fairlead.explain.values import Locate
from fairlead.intent import Route
from fairlead.problems import Problem, Severity
from fairlead.resolve.dialect import VirtualHostKey
from fairlead.resolve.mentions import mentions
from fairlead.resolve.scope import Proxy, Role, Selection
from fairlead.resolve.services import CLUSTER_DOMAIN, qualify
from fairlead.resolve.sidecar.exposures import APPLICATION_ADDRESS
from fairlead.snapshot.resource import Resource
from fairlead.status import ProblemStatus
from fairlead.world import World


def subject(  # noqa: PLR0917  # all that is known
    world: World, proxy: Proxy, selected: Selection, name: str, resources: Sequence[Resource], host: str
) -> Subject:
    """A proxy, called `name`, with its selection and what it is offered, to be asked about a host."""
    routes = _written_routes(world, selected, host)
    # What applications connect to comes before what others do, which has an address of its own.
    address = proxy.bind_address or (APPLICATION_ADDRESS if proxy.role is Role.SIDECAR else "")
    return Subject(proxy=name, resources=resources, ports=dict(selected.ports), address=address, routes=routes)


def _written_routes(world: World, selected: Selection, host: str) -> dict[tuple[str, str], list[tuple[Source, ...]]]:
    """Where the routes for a host are written: (route table, virtual host) -> what each of its routes comes from.

    Of all virtual hosts that could serve the host, wildcards included.
    """
    labels = host.lower().split(".")
    domains = [host.lower(), *(".".join(("*", *labels[index:])) for index in range(1, len(labels))), "*"]
    if selected.role is Role.SIDECAR:
        # Applications may ask for the name alone, or with its namespace.
        domains[1:1] = (qualify(host, selected.namespace), f"{host}.{CLUSTER_DOMAIN}".lower())
    found = {}
    for table in translation.route_tables(world, selected):
        for domain in domains:
            outcome = translation.hosts_of(world, selected).get(VirtualHostKey(table, domain))
            if outcome is not None:
                found[table, outcome.value.name] = list(map(_sources, outcome.value.routes))
    return found


def _sources(route: Route) -> tuple[Source, ...]:
    # Some routes are there without anybody having written them. The path is one of the last object.
    return (*map(Source, route.origin[:-1]), *(Source(key, route.path) for key in route.origin[-1:]))


def completed(  # noqa: PLR0917  # all that is known
    found: Explanation, world: World, selected: Selection, host: str, problems: Iterable[Problem], locate: Locate
) -> Explanation:
    """The explanation with what mentions the host, if nothing takes it; with problems of objects; with places."""
    if found.astray:
        mentioned = (Hint(item.text, (Source(item.key, item.path),)) for item in mentions(world, selected, host))
        found = replace(found, hints=(*found.hints, *mentioned))
    keys = found.keys()
    concerned = [
        ProblemStatus.of(problem)
        for problem in problems
        if problem.key in keys and problem.severity is not Severity.INFO
    ]
    return replace(found, problems=tuple(concerned)).located(locate)
