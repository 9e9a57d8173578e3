"""What is held: what proxies keep of an earlier state, because the present one leads to nothing.

A virtual host is whole when every destination of its routes exists; a filter chain that passes connections on, when
all its backends do. One that was whole and is so no longer - its route was changed to a host or subset that does not
exist (yet), or what it leads to was taken away - stays what it was, with the clusters and endpoints that it refers to,
until all its destinations exist again or it is removed.

This is history, so it is no derived value: it lies over what is derived, for all proxies of a selection. Virtual hosts
and filter chains are replaced by those that are held. The clusters that these refer to stay reachable and so go on to
follow the world (`World.retained`); of those that the world does not have any more, the last state is kept.

What is new has nothing to fall back on: its requests are answered with 503. So it is with all that is held when the
server restarts, and when no proxy has had the selection for a while. Copies of requests (mirrors) need no destination.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from fairlead import translation
from fairlead.derive import Input
from fairlead.intent import Backend, Cluster, FilterChain, Forward, TcpConnections, VirtualHost
from fairlead.problems import Problem, error
from fairlead.render import clusters as render_clusters
from fairlead.render import listeners as render_listeners
from fairlead.render import routes as render_routes
from fairlead.resolve.dialect import VirtualHostKey
from fairlead.resolve.scope import Locality, Selection
from fairlead.snapshot import types
from fairlead.snapshot.resource import Resource
from fairlead.world import Retained, World

HELD = "held"
"""The code of these problems."""
HeldProblems = Input[Problem, frozenset[Hashable]]
"""Why something is held -> what is."""

K = TypeVar("K", bound=Hashable)
W = TypeVar("W", bound=VirtualHost | FilterChain)


class ChainKey(NamedTuple):
    """Identity of a filter chain that passes connections on, for a selection."""

    listener: str
    name: str


@dataclass(frozen=True, slots=True)
class Held(Generic[W]):
    """A virtual host or a filter chain that is held."""

    state: W
    """Its last whole state."""
    leaf: Resource
    """The same, as it stands within a RouteConfiguration or a Listener."""
    replaces: str
    """Name of what there would be instead."""
    problems: frozenset[Problem]


class _Keeper(Generic[K, W]):
    """What is kept of one kind."""

    def __init__(
        self,
        render: Callable[[W], Resource],
        problems: HeldProblems,
        owner: Hashable,
        before: "_Keeper[K, W] | None",
    ) -> None:
        """`owner`: whose it is, for the problems; `before`: what was kept before, which is not changed."""
        self.held: dict[K, Held[W]] = {}
        self.whole: dict[K, W] = {}
        """The last whole state of everything that has had one."""
        self.touched: set[K] = set()
        """What is held now, or no longer, or in another state."""
        self.before = before
        self._render = render
        self._problems = problems
        self._owner = owner

    def decide(self, key: K, state: W | None, missing: Iterable[Problem], what: str) -> None:
        """`state`: the present one, in which these destinations are `missing`; `what` people call it."""
        problems = frozenset(_problem(what, problem) for problem in missing)
        if state is None or not problems:
            self.hold(key, None)
            self.whole.pop(key, None)
            if state is not None:
                self.whole[key] = state
            return
        whole = self.whole.get(key)
        if whole is None and self.before is not None:
            whole = self.before.whole.get(key)
        if whole is not None:
            self.whole[key] = whole
            self.hold(key, Held(whole, self._render(whole), state.name, problems))

    def hold(self, key: K, held: Held[W] | None) -> None:
        """Hold something at that state, or no longer."""
        before = self.held.pop(key, None)
        if held is None and before is None:
            return
        if held is not None:
            self.held[key] = held
        if held != before:
            self.touched.add(key)
        what = frozenset(((self._owner, type(key), key),))  # tuples of different types can be equal
        told = before.problems if before is not None else frozenset()
        tell = held.problems if held is not None else frozenset()
        for problem in tell - told:
            self._problems.set(problem, (self._problems.get(problem) or frozenset()) | what)
        for problem in told - tell:
            others = (self._problems.get(problem) or frozenset()) - what
            if others:
                self._problems.set(problem, others)
            else:
                self._problems.delete(problem)


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
        self.hosts: _Keeper[VirtualHostKey, VirtualHost] = _Keeper(
            render_routes.virtual_host, problems, selection, None if before is None else before.hosts
        )
        self.chains: _Keeper[ChainKey, FilterChain] = _Keeper(
            render_listeners.filter_chain, problems, selection, None if before is None else before.chains
        )
        """Those that pass connections on; those for requests lead to route tables."""
        self.lost: dict[Backend, Cluster] = {}
        """What is referred to by what is held, but the world does not have any more."""
        self.selection = selection
        self._world, self._before = world, before
        self._touched_backends: set[Backend] = set()
        self._hosts = translation.hosts_of(world, selection)
        self._listeners = translation.listener_outcomes(world, selection)
        self._clusters = translation.cluster_outcomes(world, selection)
        self._host_changes = self._hosts.changes(lambda: notify(self), urgent=True)
        self._listener_changes = self._listeners.changes(lambda: notify(self), urgent=True)
        self._cluster_changes = self._clusters.changes(lambda: notify(self), urgent=True)
        self._due_hosts: set[VirtualHostKey] = set()
        self._due_listeners: set[str] = set()
        self._due_backends: set[Backend] = set()
        self._chains_of: dict[str, frozenset[ChainKey]] = {}
        """Listener -> its filter chains that pass connections on."""
        self._existing: dict[Backend, Cluster] = {}
        """The last state of every cluster that is reachable or needed."""
        self._needed: frozenset[Backend] = frozenset()
        """What is referred to by what is held."""
        self._published: dict[Backend, dict[tuple[str, Locality], Resource]] = {}
        """The last clusters and endpoints of what is lost, by type, as proxies of each locality have them."""

    def forget_before(self) -> None:
        """All that comes from the selection before has been published."""
        self._before = self.hosts.before = self.chains.before = None

    def close(self) -> None:
        """Nobody has the selection any more."""
        self._host_changes.close()
        self._listener_changes.close()
        self._cluster_changes.close()
        self._world.retained.delete(self.selection)
        for host in list(self.hosts.held):
            self.hosts.hold(host, None)
        for chain in list(self.chains.held):
            self.chains.hold(chain, None)

    def take_touched(self) -> tuple[set[VirtualHostKey], set[str], set[Backend]]:
        """Of which virtual hosts, listeners and backends something else is to be published since the last call."""
        hosts, self.hosts.touched = self.hosts.touched, set()
        chains, self.chains.touched = self.chains.touched, set()
        backends, self._touched_backends = self._touched_backends, set()
        return hosts, {chain.listener for chain in chains}, backends

    # --- What is held -------------------------------------------------------------------------------------------------

    def steps(self) -> Iterator[None]:
        """Decide what is held now, in small steps between which the caller may do other things but change inputs."""
        self._due_hosts |= self._host_changes.take()
        for host in tuple(self._due_hosts):
            self._judge_host(host)
            yield
        self._due_listeners |= self._listener_changes.take()
        for name in tuple(self._due_listeners):
            self._judge_listener(name)
            yield
        if self.hosts.touched or self.chains.touched:
            self._needed = frozenset(self._references())
        yield from self._retain()
        self._due_backends |= self._cluster_changes.take() | (self._needed - self._existing.keys())
        self._due_backends |= self.lost.keys() - self._needed
        for backend in tuple(self._due_backends):
            self._note(backend)
            yield
        yield from self._retain()

    def _judge_host(self, key: VirtualHostKey) -> None:
        outcome = self._hosts.get(key)
        host = None if outcome is None else outcome.value
        missing = () if host is None else _missing_of_host(host)
        self.hosts.decide(key, host, missing, key.domain)
        self._due_hosts.discard(key)

    def _judge_listener(self, name: str) -> None:
        outcome = self._listeners.get(name)
        listener = None if outcome is None else outcome.value
        found = {} if listener is None else {ChainKey(name, chain.name): chain for chain in listener.filter_chains}
        found = {key: chain for key, chain in found.items() if isinstance(chain.connections, TcpConnections)}
        for key, chain in found.items():
            what = ", ".join(chain.server_names) or f"port {listener.port if listener is not None else 0}"
            self.chains.decide(key, chain, _missing_of_chain(chain), what)
        for key in self._chains_of.pop(name, frozenset()) - found.keys():
            self.chains.decide(key, None, (), "")
        if found:
            self._chains_of[name] = frozenset(found)
        self._due_listeners.discard(name)

    def _references(self) -> Iterator[Backend]:
        for host in self.hosts.held.values():
            yield from translation.backends_of_host(host.state)
        for chain in self.chains.held.values():
            yield from translation.backends_of_chain(chain.state)

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
        held = self.hosts.held.get(key)
        return resource if held is None else render_routes.virtual_host_resource(key.route_table, held.leaf)

    def route_configuration(
        self, table: str, resource: Resource | None, _published: Resource | None
    ) -> Resource | None:
        """The RouteConfiguration with its virtual hosts; `resource`: what is derived."""
        instead = {held.replaces: held.leaf for key, held in self.hosts.held.items() if key.route_table == table}
        return resource if resource is None or not instead else resource.with_items(instead)

    def listener(self, name: str, resource: Resource | None, _published: Resource | None) -> Resource | None:
        """The listener of that name with its filter chains; `resource`: what is derived, wherever it is bound."""
        instead = {held.replaces: held.leaf for key, held in self.chains.held.items() if key.listener == name}
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


def _missing_of_host(host: VirtualHost) -> Iterator[Problem]:
    """Why not every destination of the routes exists."""
    for route in host.routes:
        if isinstance(route.action, Forward):
            for destination in route.action.destinations:
                if destination.missing is not None:
                    yield destination.missing


def _missing_of_chain(chain: FilterChain) -> Iterator[Problem]:
    """Why not every backend of the connections exists."""
    if isinstance(chain.connections, TcpConnections):
        for share in chain.connections.backends:
            if share.missing is not None:
                yield share.missing


def _problem(what: str, missing: Problem) -> Problem:
    return error(
        HELD,
        f"{what} is held as it was when all its routes led somewhere, since {missing.message}",
        key=missing.key,
        path=missing.path,
        hint=f"{missing.hint}; no edit of {what} takes effect before",
    )
