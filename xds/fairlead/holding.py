"""Virtual hosts that are held: what proxies keep of an earlier state, because the present one leads to nothing.

A virtual host is whole when every destination of its routes exists. One that was whole and is so no longer - its route
was changed to a host or subset that does not exist (yet), or what it leads to was taken away - stays what it was, with
the clusters and endpoints that it refers to, until all its destinations exist again or it is removed.

This is history, so it is no derived value: it lies over what is derived, for all proxies of a selection. Virtual hosts
are replaced by those that are held. The clusters that these refer to stay reachable and so go on to follow the world
(`World.retained`); of those that the world does not have any more, the last state is kept.

What is new has nothing to fall back on: its requests are answered with 503. So it is with all that is held when the
server restarts, and when no proxy has had the selection for a while. Copies of requests (mirrors) need no destination.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fairlead import translation
from fairlead.derive import Input
from fairlead.intent import Backend, Cluster, Forward, VirtualHost
from fairlead.problems import Problem, error
from fairlead.render import clusters as render_clusters
from fairlead.render import routes as render_routes
from fairlead.resolve.dialect import VirtualHostKey
from fairlead.resolve.scope import Locality, Selection
from fairlead.snapshot import types
from fairlead.snapshot.resource import Resource
from fairlead.world import Retained, World

HELD = "held"
"""The code of these problems."""
HeldProblems = Input[Problem, frozenset[tuple[Selection, VirtualHostKey]]]
"""Why virtual hosts are held -> which ones."""


@dataclass(frozen=True, slots=True)
class Held:
    """A virtual host that is held."""

    host: VirtualHost
    """Its last whole state."""
    leaf: Resource
    """The same, as it stands within a RouteConfiguration."""
    replaces: str
    """Name of the virtual host that there would be instead."""
    problems: frozenset[Problem]


class Holding:
    """What proxies of one selection keep."""

    def __init__(
        self,
        world: World,
        selection: Selection,
        problems: HeldProblems,
        before: "Holding | None",
        notify: "Callable[[Holding], None]",
    ) -> None:
        """`before`: of the selection that its first proxies had. `notify` is called when `steps` have work to do."""
        self.held: dict[VirtualHostKey, Held] = {}
        self.lost: dict[Backend, Cluster] = {}
        """What virtual hosts that are held refer to, but the world does not have any more."""
        self.selection = selection
        self._world, self._problems, self._before = world, problems, before
        self._touched_hosts: set[VirtualHostKey] = set()
        self._touched_backends: set[Backend] = set()
        self._hosts = translation.hosts_of(world, selection)
        self._clusters = translation.cluster_outcomes(world, selection)
        self._host_changes = self._hosts.changes(lambda: notify(self), urgent=True)
        self._cluster_changes = self._clusters.changes(lambda: notify(self), urgent=True)
        self._due_hosts: set[VirtualHostKey] = set()
        self._due_backends: set[Backend] = set()
        self._whole: dict[VirtualHostKey, VirtualHost] = {}
        """The last whole state of every virtual host that has had one."""
        self._existing: dict[Backend, Cluster] = {}
        """The last state of every cluster that is reachable or needed."""
        self._needed: frozenset[Backend] = frozenset()
        """What virtual hosts that are held refer to."""
        self._published: dict[Backend, dict[tuple[str, Locality], Resource]] = {}
        """The last clusters and endpoints of what is lost, by type, as proxies of each locality have them."""

    def forget_before(self) -> None:
        """All that comes from the selection before has been published."""
        self._before = None

    def close(self) -> None:
        """Nobody has the selection any more."""
        self._host_changes.close()
        self._cluster_changes.close()
        self._world.retained.delete(self.selection)
        for key in list(self.held):
            self._hold(key, None)

    def take_touched(self) -> tuple[set[VirtualHostKey], set[Backend]]:
        """Of which virtual hosts, and of which backends, something else is to be published since the last call."""
        hosts, self._touched_hosts = self._touched_hosts, set()
        backends, self._touched_backends = self._touched_backends, set()
        return hosts, backends

    # --- What is held -------------------------------------------------------------------------------------------------

    def steps(self) -> Iterator[None]:
        """Decide what is held now, in small steps between which the caller may do other things but change inputs."""
        self._due_hosts |= self._host_changes.take()
        while self._due_hosts:
            self._judge(next(iter(self._due_hosts)))
            yield
        if self._touched_hosts:
            held = (held.host for held in self.held.values())
            self._needed = frozenset(backend for host in held for backend in translation.backends_of_host(host))
        yield from self._retain()
        self._due_backends |= self._cluster_changes.take() | (self._needed - self._existing.keys())
        self._due_backends |= self.lost.keys() - self._needed
        while self._due_backends:
            self._note(next(iter(self._due_backends)))
            yield
        yield from self._retain()

    def _judge(self, key: VirtualHostKey) -> None:
        outcome = self._hosts.get(key)
        if outcome is None:
            self._whole.pop(key, None)
            self._hold(key, None)
        elif not (missing := _missing(outcome.value)):
            self._whole[key] = outcome.value
            self._hold(key, None)
        else:
            whole = self._whole.get(key)
            if whole is None and self._before is not None:
                whole = self._before._whole.get(key)
            if whole is not None:
                self._whole[key] = whole
                problems = frozenset(_problem(key, problem) for problem in missing)
                self._hold(key, Held(whole, render_routes.virtual_host(whole), outcome.value.name, problems))
        self._due_hosts.discard(key)

    def _hold(self, key: VirtualHostKey, held: Held | None) -> None:
        before = self.held.pop(key, None)
        if held is not None:
            self.held[key] = held
        if held != before:
            self._touched_hosts.add(key)
        what = (self.selection, key)
        told = before.problems if before is not None else frozenset()
        tell = held.problems if held is not None else frozenset()
        for problem in tell - told:
            self._problems.set(problem, (self._problems.get(problem) or frozenset()) | {what})
        for problem in told - tell:
            others = (self._problems.get(problem) or frozenset()) - {what}
            if others:
                self._problems.set(problem, others)
            else:
                self._problems.delete(problem)

    def _retain(self) -> Iterator[None]:
        """Say what is needed, and bring to the present what depends on it."""
        credentials = (name for cluster in self.lost.values() for name in translation.credentials_of_cluster(cluster))
        retained = Retained(self._needed, frozenset(credentials))
        if retained != (self._world.retained.get(self.selection) or _NOTHING):
            if retained == _NOTHING:
                self._world.retained.delete(self.selection)
            else:
                self._world.retained.set(self.selection, retained)
            yield from self._world.graph.settle_steps(urgent=True)

    def _note(self, backend: Backend) -> None:
        outcome = self._clusters.get(backend)
        cluster = None if outcome is None else outcome.value
        if cluster is not None:
            self._existing[backend] = cluster
        elif backend not in self._needed:
            self._existing.pop(backend, None)
        elif last := self._existing.get(backend) or (self._before and self._before._existing.get(backend)):
            self._existing[backend] = last
            if backend not in self.lost:
                self.lost[backend] = last
                self._touched_backends.add(backend)
        if backend in self.lost and (cluster is not None or backend not in self._needed):
            del self.lost[backend]
            self._published.pop(backend, None)
            self._touched_backends.add(backend)
        self._due_backends.discard(backend)

    # --- What is published --------------------------------------------------------------------------------------------

    def virtual_host(
        self, key: VirtualHostKey, resource: Resource | None, _published: Resource | None
    ) -> Resource | None:
        """The virtual host that is sent by itself (VHDS); `resource`: what is derived."""
        held = self.held.get(key)
        return resource if held is None else render_routes.virtual_host_resource(key.route_table, held.leaf)

    def route_configuration(
        self, table: str, resource: Resource | None, _published: Resource | None
    ) -> Resource | None:
        """The RouteConfiguration with its virtual hosts; `resource`: what is derived."""
        instead = {held.replaces: held.leaf for key, held in self.held.items() if key.route_table == table}
        return resource if resource is None or not instead else resource.with_items(instead)

    def cluster(
        self, locality: Locality, backend: Backend, resource: Resource | None, published: Resource | None
    ) -> Resource | None:
        """The cluster of a backend; `resource`: what is derived, `published`: what proxies of the locality have."""
        if backend not in self.lost:
            return resource
        known = self._note_published(types.CLUSTER, locality, backend, published)
        return known.get((types.CLUSTER, locality)) or render_clusters.cluster(self.lost[backend])

    def endpoints(
        self, locality: Locality, backend: Backend, resource: Resource | None, published: Resource | None
    ) -> Resource | None:
        """The endpoints of a backend; `resource`: what is derived, `published`: what proxies of the locality have.

        A locality that has nothing yet is given what another one has.
        """
        if backend not in self.lost:
            return resource
        known = self._note_published(types.CLUSTER_LOAD_ASSIGNMENT, locality, backend, published)
        others = (found for (type_url, _), found in known.items() if type_url == types.CLUSTER_LOAD_ASSIGNMENT)
        return known.get((types.CLUSTER_LOAD_ASSIGNMENT, locality)) or next(others, None)

    def _note_published(
        self, type_url: str, locality: Locality, backend: Backend, published: Resource | None
    ) -> dict[tuple[str, Locality], Resource]:
        known = self._published.get(backend)
        if known is None:
            inherited = {} if self._before is None else self._before._published.get(backend, {})
            known = self._published[backend] = dict(inherited)
        if published is not None:
            known.setdefault((type_url, locality), published)
        return known


_NOTHING = Retained(frozenset(), frozenset())


def _missing(host: VirtualHost) -> list[Problem]:
    """Why not every destination of the routes exists."""
    return [
        destination.missing
        for route in host.routes
        if isinstance(route.action, Forward)
        for destination in route.action.destinations
        if destination.missing is not None
    ]


def _problem(key: VirtualHostKey, missing: Problem) -> Problem:
    return error(
        HELD,
        f"{key.domain} is held as it was when all its routes led somewhere, since {missing.message}",
        key=missing.key,
        path=missing.path,
        hint=f"{missing.hint}; no edit of {key.domain} takes effect before",
    )
