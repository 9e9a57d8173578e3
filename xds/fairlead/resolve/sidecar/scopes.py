"""Sidecars: which one governs a proxy, and what it lets the proxy see.

A Sidecar with a workloadSelector comes before the one of the whole namespace, and that before the one of the root
namespace; of several the oldest counts (istio.io/latest/docs/reference/config/networking/sidecar).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from fairlead.derive import Input, derived, derived_index
from fairlead.models.istio.sidecar import IstioEgressListener, Sidecar
from fairlead.problems import FieldPath, ObjectKey
from fairlead.resolve import mesh, services
from fairlead.resolve.hosts import covers
from fairlead.resolve.scope import Labels, Selection
from fairlead.world import ObjectName, World

_ANY = "*"
_NONE = "~"
HTTP_PROXY = "HTTP_PROXY"
"""The protocol of an egress listener whose clients name the service in each request, as with any forward proxy."""


class Import(NamedTuple):
    """Services that a sidecar sees: those of a namespace, or `*` for all, whose host the pattern covers."""

    namespace: str
    host: str


@dataclass(frozen=True, slots=True)
class EgressListener:
    """Where applications connect to, and the services that they reach there."""

    imports: tuple[Import, ...]
    exclusions: tuple[Import, ...] = ()
    port: int = 0
    """0: each port of the services, but those of other listeners; or a unix socket."""
    protocol: str = ""
    """Upper case, as written; empty: that of the services."""
    bind: str = ""
    """IP address or `unix://` and a path; empty for the proxy's own choice."""
    path: FieldPath = ()
    """In the Sidecar."""

    @property
    def takes_the_rest(self) -> bool:
        """Whether it has every port that no other listener has."""
        return not self.port and not self.bind

    @property
    def by_authority(self) -> bool:
        """Whether the port of the service is told by each request, not by the listener."""
        return self.protocol == HTTP_PROXY or (not self.port and bool(self.bind))

    def sees(self, namespace: str, host: str) -> bool:
        """Whether a host of an object in that namespace is among its services."""
        return _among(self.imports, namespace, host) and not _among(self.exclusions, namespace, host)


def _among(imports: Iterable[Import], namespace: str, host: str) -> bool:
    return any(item.namespace in (_ANY, namespace) and covers(item.host, host) for item in imports)


_EVERYTHING: tuple[EgressListener, ...] = (EgressListener((Import(_ANY, _ANY),)),)


def _sidecars(world: World) -> Input[ObjectName, Sidecar]:
    return world.objects(Sidecar)


@derived_index(_sidecars)
def _by_namespace(_world: World, name: ObjectName, _sidecar: Sidecar) -> Iterable[str]:
    yield name.namespace


@derived
def governing(world: World, namespace: str, labels: Labels) -> ObjectName | None:
    """The Sidecar for the proxies of a namespace with these labels; None when there is none for them."""
    found = ranked(world, namespace)
    root_namespace = mesh.root_namespace(world)
    root = () if namespace == root_namespace else ranked(world, root_namespace)
    chosen = next((item for item in found if selects(item) and labels_of(item) <= labels), None)
    chosen = chosen or next((item for item in (*found, *root) if not selects(item)), None)
    return None if chosen is None else ObjectName(chosen.metadata.namespace, chosen.metadata.name)


def ranked(world: World, namespace: str) -> list[Sidecar]:
    """The Sidecars of a namespace, the oldest first."""
    names = _by_namespace(world).get(namespace) or ()
    return sorted((item for name in names if (item := _sidecars(world).get(name)) is not None), key=services.age)


def selects(sidecar: Sidecar) -> bool:
    """Whether a Sidecar is for some workloads of its namespace only."""
    return bool(labels_of(sidecar))


def labels_of(sidecar: Sidecar) -> Labels:
    """The labels that its workloads have."""
    selector = sidecar.spec.workload_selector
    return frozenset() if selector is None else frozenset(selector.labels.items())


def egress(world: World, selection: Selection) -> tuple[EgressListener, ...]:
    """The egress listeners of the proxies: those of their Sidecar, and their HTTP proxy port."""
    return _egress(world, selection.namespace, selection.sidecar, selection.http_proxy_port)


@derived
def _egress(world: World, namespace: str, name: ObjectName | None, http_proxy_port: int) -> tuple[EgressListener, ...]:
    sidecar = None if name is None else _sidecars(world).get(name)
    found = _EVERYTHING
    if sidecar is not None and sidecar.spec.egress:
        found = tuple(
            _listener(listener, namespace, ("spec", "egress", index))
            for index, listener in enumerate(sidecar.spec.egress)
        )
    if http_proxy_port and all(listener.port != http_proxy_port for listener in found):
        # It sees what all others see together.
        imports = tuple(dict.fromkeys(item for listener in found for item in listener.imports))
        exclusions = tuple(dict.fromkeys(item for listener in found for item in listener.exclusions))
        found = (*found, EgressListener(imports, exclusions, http_proxy_port, HTTP_PROXY))
    return found


def _listener(listener: IstioEgressListener, namespace: str, path: FieldPath) -> EgressListener:
    imports: list[Import] = []
    exclusions: list[Import] = []
    for text in listener.hosts:
        owner, _, host = text.partition("/")
        if owner == _NONE:
            continue
        excluded, owner = owner.startswith(_NONE), owner.removeprefix(_NONE)
        found = Import(namespace if owner == "." else owner, host.lower())
        (exclusions if excluded else imports).append(found)
    port = listener.port
    return EgressListener(
        imports=tuple(imports),
        exclusions=tuple(exclusions),
        port=0 if port is None else port.number,
        protocol="" if port is None else port.protocol.upper(),
        bind=listener.bind,
        path=path,
    )


def implied(world: World) -> Iterator[tuple[str, Labels]]:
    """Namespace and labels of the proxies that Sidecars must be meant for."""
    for name in _sidecars(world).keys():  # noqa: SIM118  # no dict: keys() records the reading
        sidecar = _sidecars(world).get(name)
        if sidecar is not None:
            yield name.namespace, labels_of(sidecar)


def key_of(name: ObjectName) -> ObjectKey:
    """Identity of the Sidecar of that name."""
    return ObjectKey(Sidecar.group, Sidecar.kind, name.namespace, name.name)
