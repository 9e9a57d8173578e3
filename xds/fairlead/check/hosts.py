"""Hosts of servers, and whether clients get there: certificates that do not name them, connections that are reused."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from fairlead.certificates import hosts_of, names_cover
from fairlead.intent import KeyPairCredential
from fairlead.problems import ObjectKey, Problem, Related, warning
from fairlead.resolve.credentials import credential
from fairlead.resolve.dialect import Server, ServerProtocol
from fairlead.resolve.hosts import covers, is_wildcard
from fairlead.resolve.listeners import Plan, plans
from fairlead.resolve.scope import Selection
from fairlead.world import World

_SHOWN = 3
"""How many hosts a message names."""
_TLS = (ServerProtocol.HTTPS, ServerProtocol.TLS, ServerProtocol.TLS_PASSTHROUGH)


@dataclass(frozen=True, slots=True)
class _Certified:
    """A server, and the names in its certificates."""

    server: Server
    names: tuple[str, ...]
    secrets: tuple[ObjectKey, ...]


def problems(world: World, selection: Selection) -> Iterator[Problem]:
    """What is wrong with hosts of the servers for one selection of proxies."""
    found = plans(world, selection)
    for plan in found:
        certified = [one for server in plan.tls if (one := _certified(world, selection, server)) is not None]
        for one in certified:
            yield from _mismatch(one)
        yield from _reuse([one for one in certified if one.server.protocol is ServerProtocol.HTTPS])
    yield from _redirects(found)


def _certified(world: World, selection: Selection, server: Server) -> _Certified | None:
    if server.tls is None:
        return None
    names: list[str] = []
    secrets: list[ObjectKey] = []
    for name in server.tls.credentials:
        value = credential(world, selection.namespace, name, world.strict_secret_names).value
        if not isinstance(value, KeyPairCredential):
            return None  # that is told of
        names += hosts_of(value.certificate_chain)
        secrets += value.origin
    return _Certified(server, tuple(names), tuple(secrets))


def _named(hosts: Iterable[str]) -> str:
    listed = list(hosts)
    return ", ".join(listed[:_SHOWN]) + (" and others" if len(listed) > _SHOWN else "")


def _mismatch(one: _Certified) -> Iterator[Problem]:
    # A wildcard host stands for names that nobody knows: it is enough that the certificate has some of them.
    missing = [host for host in one.server.hosts if not _names_some(one.names, host)]
    if missing:
        names = _named(one.names) or "no host"
        yield warning(
            "certificate-host-mismatch",
            f"the certificate of server {one.server.name} does not name {_named(missing)}: it is for {names}",
            key=one.server.declared_by,
            path=(*one.server.path, "tls"),
            hint="use a certificate with that name, or take the host out of the server",
            related=tuple(Related("the certificate", key) for key in one.secrets),
        )


def _names_some(names: Iterable[str], host: str) -> bool:
    if host == "*":
        return True
    if is_wildcard(host):
        return any(covers(host, name.lower()) for name in names)
    return names_cover(names, host)


def _reuse(certified: list[_Certified]) -> Iterator[Problem]:
    """Servers that get requests for hosts of others, since clients may reuse connections (RFC 9113, section 9.1.1)."""
    exact: dict[str, _Certified] = {}
    below: dict[str, list[tuple[str, _Certified]]] = {}
    for one in certified:
        for host in one.server.hosts:
            exact.setdefault(host, one)
            below.setdefault(host.partition(".")[2], []).append((host, one))
    for one in certified:
        # A wildcard server has routes of its own for all that it stands for.
        of_others = (
            (host, other)
            for host, other in _hosts_named(one.names, exact, below)
            if other is not one and not any(covers(own, host) for own in one.server.hosts)
        )
        # Where all servers share a certificate, each reaches all others: a few are enough to tell.
        reached = dict(itertools.islice(of_others, _SHOWN + 1))
        if reached:
            host, other = next(iter(reached.items()))
            yield warning(
                "connection-reuse",
                f"the certificate of server {one.server.name} is also valid for {_named(reached)}, which other servers "
                "have: browsers reuse connections, and such requests are answered with 404",
                key=one.server.declared_by,
                path=(*one.server.path, "tls"),
                hint="join the servers, or use certificates that name the server's own hosts only",
                related=(Related(f"{host} is served here", other.server.declared_by, other.server.path),),
            )


def _hosts_named(
    names: Iterable[str], exact: Mapping[str, _Certified], below: Mapping[str, list[tuple[str, _Certified]]]
) -> Iterator[tuple[str, _Certified]]:
    """The hosts of servers that certificate names are valid for; the cost depends on what is found."""
    for name in dict.fromkeys(name.lower() for name in names):
        if name in exact:
            yield name, exact[name]
        if is_wildcard(name):
            yield from below.get(name.partition(".")[2], ())


def _redirects(found: Iterable[Plan]) -> Iterator[Problem]:
    plans_found = tuple(found)
    redirecting = [server for plan in plans_found for server in plan.plaintext if server.https_redirect]
    if not redirecting:
        return
    served = {host for plan in plans_found for server in plan.tls for host in server.hosts if server.protocol in _TLS}
    wildcards = [host for host in served if is_wildcard(host)]
    for server in redirecting:
        lost = [
            host
            for host in server.hosts
            if host not in served
            and not any(covers(wildcard, host) for wildcard in wildcards)
            and not (is_wildcard(host) and any(covers(host, other) for other in served))
        ]
        if lost:
            yield warning(
                "redirect-nowhere",
                f"requests for {_named(lost)} are redirected to https, which no server takes for that host",
                key=server.declared_by,
                path=(*server.path, "tls", "httpsRedirect"),
                hint="add a server of protocol HTTPS for the host",
            )
