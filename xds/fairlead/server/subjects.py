"""What an explanation needs of the world: where routes are written, who mentions a host, what is wrong with objects."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from fairlead import translation
from fairlead.explain import Explanation, Hint, Source, Subject
from fairlead.explain.values import Locate
from fairlead.problems import Problem, Severity
from fairlead.resolve.mentions import mentions
from fairlead.resolve.scope import Proxy, Role, Selection
from fairlead.resolve.sidecar.exposures import APPLICATION_ADDRESS
from fairlead.snapshot.resource import Resource
from fairlead.status import ProblemStatus
from fairlead.world import World


def subject(  # noqa: PLR0917  # all that is known
    world: World, proxy: Proxy, selected: Selection, name: str, resources: Sequence[Resource], host: str
) -> Subject:
    """A proxy, called `name`, with its selection and what it is offered, to be asked about a host."""
    routes = {
        key: [_sources(place) for place in places]
        for key, places in translation.written_routes(world, selected, host).items()
    }
    # What applications connect to comes before what others do, which has an address of its own.
    address = proxy.bind_address or (APPLICATION_ADDRESS if proxy.role is Role.SIDECAR else "")
    return Subject(proxy=name, resources=resources, ports=dict(selected.ports), address=address, routes=routes)


def _sources(place: translation.WrittenAt) -> tuple[Source, ...]:
    # Some routes are there without anybody having written them.
    return (*map(Source, place.origin[:-1]), *(Source(key, place.path) for key in place.origin[-1:]))


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
