"""From a simulated request to its explanation: each step gets the objects behind it, and certificates are read."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from fairlead.certificates import covers
from fairlead.certificates.reading import details_of
from fairlead.explain import nearest
from fairlead.explain.asked import Asked
from fairlead.explain.values import Explanation, Hint, Other, Source, Stop
from fairlead.simulation import Fact, Simulation, Stage, Step, Verdict
from fairlead.simulation.words import outcome
from fairlead.snapshot import types
from fairlead.snapshot.resource import Resource


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A proxy, and all that is known of what it is offered."""

    proxy: str
    """How people call it."""
    resources: Sequence[Resource]
    ports: Mapping[int, int] = field(default_factory=dict)
    """Port of the Service in front of the proxy -> port of its listener."""
    address: str = ""
    """Where clients connect to it, unless they say so; empty where each port has only one listener."""
    routes: Mapping[tuple[str, str], Sequence[tuple[Source, ...]]] = field(default_factory=dict)
    """Route table and virtual host -> where each of its routes is written."""


def explain(subject: Subject, asked: Asked, now: datetime) -> Explanation:
    """What becomes of the request at the proxy; `now`, with a time zone, decides whether certificates are valid."""
    simulation = Simulation(subject.resources, detailed=True)
    port = asked.port if asked.port in simulation.ports() else subject.ports.get(asked.port, asked.port)
    addresses = (each for each in (asked.address, subject.address) if each and simulation.listens(each, port))
    request = asked.request(port, next(addresses, ""))
    verdict = simulation.send(request)
    sources = _Sources(subject)
    stops = tuple(_stop(step, sources) for step in verdict.steps)
    stops = tuple(_with_certificates(stop, verdict, simulation, sources, asked, now) for stop in stops)
    served = not verdict.failure
    hints: list[Hint] = []
    astray = False
    if port != asked.port:
        hints.append(Hint(f"the Service in front of the proxy maps port {asked.port} to {port}"))
    if not served:
        elsewhere = list(nearest.elsewhere(simulation, request, asked, subject.ports))
        hints += elsewhere or nearest.here(simulation, request, verdict)
        passed = any(step.name or step.not_chosen for step in verdict.steps if step.stage is Stage.ROUTE)
        astray = not elsewhere and not passed and not verdict.clusters
    return Explanation(
        proxy=subject.proxy,
        asked=str(asked),
        accepted=not verdict.refused,
        served=served,
        outcome=outcome(verdict),
        stops=stops,
        astray=astray,
        hints=tuple(hints),
    )


def most_telling(explanations: Sequence[Explanation]) -> list[Explanation]:
    """Those of the proxies that take the request; when none does, that which gets farthest."""
    for group in (
        [found for found in explanations if found.served],
        [found for found in explanations if found.accepted],
    ):
        if group:
            return group
    return [max(explanations, key=lambda found: len(found.stops))] if explanations else []


# --- Objects ----------------------------------------------------------------------------------------------------------


class _Sources:
    """The objects behind resources and their parts."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._resources = {(found.type_url, found.name): found for found in subject.resources}

    def of(self, type_url: str, name: str) -> tuple[Source, ...]:
        found = self._resources.get((type_url, name))
        return () if found is None else _sources(found)

    def of_step(self, step: Step) -> tuple[Source, ...]:
        match step.stage:
            case Stage.LISTENER:
                return self.of(types.LISTENER, step.name)
            case Stage.FILTER_CHAIN:
                return self._of_part(types.LISTENER, step.within[0], step.name)
            case Stage.VIRTUAL_HOST:
                table = step.within[0]
                part = self._of_part(types.ROUTE_CONFIGURATION, table, step.name)
                return part or self.of(types.VIRTUAL_HOST, f"{table}/{step.name}")
            case Stage.ROUTE:
                return self.of_route(step, step.index) if step.name else ()
            case Stage.CLUSTER:
                both = (*self.of(types.CLUSTER, step.name), *self.of(types.CLUSTER_LOAD_ASSIGNMENT, step.name))
                return tuple(dict.fromkeys(both))

    def of_route(self, step: Step, index: int) -> tuple[Source, ...]:
        table, host = step.within
        routes = self._subject.routes.get((table, host), ())
        return routes[index] if index < len(routes) else ()

    def _of_part(self, type_url: str, name: str, part: str) -> tuple[Source, ...]:
        found = self._resources.get((type_url, name))
        if found is None or found.composition is None:
            return ()
        item = found.composition.by_name.get(part)
        return () if item is None else _sources(item)


def _sources(resource: Resource) -> tuple[Source, ...]:
    return tuple(Source(key) for key in resource.origin)


def _stop(step: Step, sources: _Sources) -> Stop:
    not_chosen: Iterable[Other] = (Other(name, why) for name, why in step.not_chosen)
    if step.stage is Stage.ROUTE:
        not_chosen = (
            Other(name, why, sources.of_route(step, index)[-1:]) for index, (name, why) in enumerate(step.not_chosen)
        )
    return Stop(
        stage=step.stage,
        name=step.name,
        why=step.why,
        not_chosen=tuple(not_chosen),
        facts=tuple(step.facts),
        sources=sources.of_step(step),
    )


# --- Certificates -----------------------------------------------------------------------------------------------------


def _with_certificates(  # noqa: PLR0917  # all that is known
    stop: Stop, verdict: Verdict, simulation: Simulation, sources: _Sources, asked: Asked, now: datetime
) -> Stop:
    if stop.stage is not Stage.FILTER_CHAIN or not verdict.secrets:
        return stop
    facts, keys = list(stop.facts), list(stop.sources)
    for name in verdict.secrets:
        if name in simulation.certificate_files:
            file = simulation.certificate_files[name]
            facts.append(Fact("certificate", f"in {file}, a file of the proxy, so that nothing is known of it"))
            continue
        facts += _certificate(name, simulation.certificates.get(name), asked.server_name or asked.host, now)
        keys += sources.of(types.SECRET, name)
    return Stop(stop.stage, stop.name, stop.why, stop.not_chosen, tuple(facts), tuple(dict.fromkeys(keys)))


def _certificate(name: str, pem: bytes | None, host: str, now: datetime) -> Iterator[Fact]:
    if pem is None:
        yield Fact("certificate", f"{name} is missing, so that no handshake succeeds")
        return
    details = details_of(pem)
    names = [*details.dns_names, *details.ip_addresses] or [details.common_name or "no name"]
    words = [f"{details.subject or f'serial number {details.serial}'} for {', '.join(names)}"]
    if now > details.not_after:
        words.append(f"expired on {details.not_after:%Y-%m-%d %H:%M} UTC")
    elif now < details.not_before:
        words.append(f"not valid before {details.not_before:%Y-%m-%d %H:%M} UTC")
    else:
        words.append(f"valid until {details.not_after:%Y-%m-%d}")
    words.append(f"{'covers' if covers(details, host) else 'does NOT cover'} {host}")
    yield Fact("certificate", "; ".join(words))
