"""From a sidecar to its selection, and from the objects to the sidecars that they must be meant for."""

from fairlead.derive import derived
from fairlead.resolve import destination_rules
from fairlead.resolve.governance import connections
from fairlead.resolve.istio import virtual_services as istio
from fairlead.resolve.scope import Labels, Proxy, Role, Selection, Workload
from fairlead.resolve.sidecar import ingress, scopes, unknown_hosts
from fairlead.resolve.sidecar.exposures import APPLICATION_ADDRESS
from fairlead.world import World

_EXAMPLE_ADDRESS = "192.0.2.1"
"""Of a proxy that is not there: from the block that documentation uses (RFC 5737)."""
_EXAMPLE_BIND_ADDRESS = "127.0.0.2"


def sidecar_selection(world: World, proxy: Proxy) -> Selection:
    """What applies to a sidecar."""
    own = proxy.address or proxy.bind_address
    workload = Workload(
        services=ingress.in_front(world, proxy.namespace, proxy.labels),
        has_address=own not in ("", APPLICATION_ADDRESS),
        beside_application=proxy.bind_address in ("", APPLICATION_ADDRESS, own),
    )
    return Selection(
        Role.SIDECAR,
        proxy.namespace,
        labels=_asked_for(world, proxy.labels) | connections.labels_asked_for(world, proxy.namespace, proxy.labels),
        caller_labels=destination_rules.labels_asked_for(world, proxy.namespace, proxy.labels),
        sidecar=scopes.governing(world, proxy.namespace, proxy.labels),
        http_proxy_port=proxy.http_proxy_port,
        on_loopback=unknown_hosts.is_loopback(proxy.bind_address or APPLICATION_ADDRESS),
        workload=workload,
    )


@derived
def _asked_for(world: World, labels: Labels) -> Labels:
    return frozenset(label for label in labels if istio.labels(world).get(label) is not None)


def imagined(namespace: str, labels: Labels) -> Proxy:
    """A sidecar that is not there: with an address of its own, and one on the loopback device for its application."""
    return Proxy(Role.SIDECAR, namespace, labels, bind_address=_EXAMPLE_BIND_ADDRESS, address=_EXAMPLE_ADDRESS)


@derived
def sidecars_implied(world: World) -> tuple[Proxy, ...]:
    """The sidecars that Sidecars must be meant for, where no proxy is there to ask: one for each set of labels."""
    proxies = (imagined(namespace, labels) for namespace, labels in set(scopes.implied(world)))
    return tuple(sorted(proxies, key=lambda proxy: (proxy.namespace, sorted(proxy.labels))))
