"""When nothing serves a request: what is missing, and what comes nearest to it.

The nearest is found by asking: the same request is simulated on other ports, with and without TLS, with other hosts
and other forms of its path.
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from fairlead.explain.asked import Asked
from fairlead.explain.values import Hint
from fairlead.simulation import Request, Simulation, Verdict

_MOST = 5
"""How many names are listed, or tried."""


def elsewhere(simulation: Simulation, request: Request, asked: Asked, ports: Mapping[int, int]) -> Iterator[Hint]:
    """The same request on another port, or with TLS instead of without; `ports` are those of the Service in front."""
    asked_right = replace(request, server_name=None)
    if request.tls and request.asked_server_name != request.host and _served(simulation, asked_right):
        yield Hint(
            f"with server name {request.host} it is served; a browser that finds {request.host} in the certificate of "
            "another host may send both over one connection"
        )
        return
    outside = {inside: outside for outside, inside in ports.items()}
    for port, expected in simulation.ports().items():
        for tls in (request.tls, not request.tls):
            here = port == request.port
            if here and tls == request.tls:
                continue
            verdict = simulation.send(replace(request, port=port, tls=tls))
            # To be sent back to where one comes from is no help; to be let in is, where TLS was all that was wrong.
            helps = not verdict.refused if here else not verdict.failure and not verdict.location
            if helps:
                scheme = ("https" if tls else "http") if asked.scheme.startswith("http") else "tls" if tls else "tcp"
                other = replace(asked, scheme=scheme, port=outside.get(port, port))
                yield Hint(f"port {port} expects {expected}: ask for {other}" if here else f"{other} is served")


def here(simulation: Simulation, request: Request, verdict: Verdict) -> Iterator[Hint]:
    """What there is where the request came to its end."""
    if not simulation.ports():
        yield Hint("the proxy has no listener at all: no server of a Gateway for it leads anywhere")
    elif not verdict.listener:
        yield Hint(f"the proxy listens on {_listed(f'{port} ({what})' for port, what in simulation.ports().items())}")
    elif not verdict.virtual_host and not verdict.clusters:
        yield from _other_names(simulation, request, verdict)
    elif not verdict.route and not verdict.clusters:
        yield from _other_paths(simulation, request)


def _served(simulation: Simulation, request: Request) -> bool:
    return not simulation.send(request).failure


def _other_names(simulation: Simulation, request: Request, verdict: Verdict) -> Iterator[Hint]:
    if verdict.route_table:
        names, what, name = simulation.domains(verdict.route_table), "hosts", request.host
    else:
        names, what, name = simulation.server_names(verdict.listener), "server names", request.asked_server_name
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.7)
    if near:
        yield Hint(f"is {' or '.join(near)} meant?")
    yield Hint(f"the {what} served there are {_listed(names)}" if names else f"no {what} are served there")


def _other_paths(simulation: Simulation, request: Request) -> Iterator[Hint]:
    path, question, query = request.path.partition("?")
    for other in dict.fromkeys((path.rstrip("/"), f"{path}/", path.lower(), path.rstrip("/").lower())):
        if other and other != path and _served(simulation, replace(request, path=other + question + query)):
            yield Hint(f"path {other} is served")
    methods = [
        method
        for method in ("GET", "POST", "PUT", "DELETE", "PATCH")
        if method != request.method and _served(simulation, replace(request, method=method))
    ]
    if methods:
        yield Hint(f"method {' or '.join(methods)} is served")


def _listed(names: Iterable[str]) -> str:
    found = list(names)
    return ", ".join(found[:_MOST]) + (f" and {len(found) - _MOST} more" if len(found) > _MOST else "")
