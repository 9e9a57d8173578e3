"""Which objects mention a host, and why requests for it do not reach them: for people who wonder why nothing answers.

This looks through all objects of a kind, so it is for questions, not for translation.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from fairlead.models.gateway_api import HTTPRoute
from fairlead.models.istio.gateway import Gateway
from fairlead.models.istio.virtual_service import VirtualService
from fairlead.problems import FieldPath, ObjectKey
from fairlead.resolve.gateway_api import attachment
from fairlead.resolve.hosts import covers
from fairlead.resolve.istio import virtual_services
from fairlead.resolve.istio.gateways import selector
from fairlead.resolve.istio.references import gateway_key, gateway_names
from fairlead.resolve.listeners import served_servers
from fairlead.resolve.scope import Selection
from fairlead.world import ObjectName, World


class Mention(NamedTuple):
    """An object with a host, and what is to be said of it."""

    key: ObjectKey
    path: FieldPath
    text: str


def mentions(world: World, selection: Selection, host: str) -> tuple[Mention, ...]:
    """What has the host, for proxies of a selection that do not serve it: routes first, then servers."""
    host = host.lower()
    return (
        *_virtual_services(world, selection, host),
        *_http_routes(world, selection, host),
        *_servers(world, selection, host),
    )


def _virtual_services(world: World, selection: Selection, host: str) -> Iterator[Mention]:
    collection = world.objects(VirtualService)
    for name in sorted(collection.keys()):
        found = collection.get(name)
        if found is None or not any(covers(own, host) for own in virtual_services.hosts_of(found)):
            continue
        gateways = gateway_names(found.spec.gateways, name.namespace)
        text = f"{found.key} has the host, but {_why_not(world, selection, gateways)}"
        if virtual_services.bindings(world, selection).get(name) is not None:
            text = f"{found.key} has the host, and this proxy serves it on another port"
        yield Mention(found.key, ("spec", "gateways" if found.spec.gateways else "hosts"), text)


def _why_not(world: World, selection: Selection, gateways: Iterable[ObjectName]) -> str:
    names = list(gateways)
    if not names:
        return "names no Gateway in `gateways`, so that it is for sidecars only"
    here = [name for name in names if selector(world, name) in selection.selectors]
    if here:
        return f"no server of {_listed(here)} has it"
    known = [name for name in names if world.objects(Gateway).get(name) is not None]
    if known:
        return f"is bound to {_listed(known)}, which is for other proxies"
    return f"is bound to {_listed(names)}, which does not exist"


def _listed(names: Iterable[ObjectName]) -> str:
    return " and ".join(str(gateway_key(name)) for name in names)


def _http_routes(world: World, selection: Selection, host: str) -> Iterator[Mention]:
    collection = world.objects(HTTPRoute)
    served = {server.gateway for server in served_servers(world, selection).keys()}  # noqa: SIM118  # no dict
    for name in sorted(collection.keys()):
        found = collection.get(name)
        if found is None or not any(covers(own.lower(), host) for own in found.spec.hostnames):
            continue
        outcome = attachment.attachments(world).get(name)
        attached = outcome.value if outcome is not None else ()
        if not attached:
            text = f"{found.key} has the host, but is attached to no Gateway"
        elif any(item.server.gateway in served for item in attached):
            text = f"{found.key} has the host, and this proxy serves it on another port"
        else:
            others = " and ".join(dict.fromkeys(str(item.server.gateway) for item in attached))
            text = f"{found.key} has the host, but is attached to {others}, which is for other proxies"
        yield Mention(found.key, ("spec", "parentRefs"), text)


def _servers(world: World, selection: Selection, host: str) -> Iterator[Mention]:
    found = [
        server
        for server in served_servers(world, selection).keys()  # noqa: SIM118  # no dict
        if any(covers(own, host) for own in server.hosts)
    ]
    for server in sorted(found, key=lambda server: (server.declared_by, server.port, server.name)):
        text = (
            f"server {server.name} of {server.declared_by} has the host on port {server.port} ({server.protocol.value})"
        )
        yield Mention(server.declared_by, server.path, text)
