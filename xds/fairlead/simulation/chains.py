"""Which filter chain takes a connection.

Envoy looks at one criterion after the other, keeps the chains that fit best, and never comes back to those that it has
dropped (envoy.config.listener.v3.FilterChainMatch has the order).
"""

import ipaddress
from collections.abc import Callable, Iterable
from typing import NamedTuple

from fairlead._pb.envoy.config.core.v3.address_pb2 import CidrRange
from fairlead._pb.envoy.config.listener.v3.listener_components_pb2 import FilterChain, FilterChainMatch
from fairlead._pb.envoy.config.listener.v3.listener_pb2 import Listener
from fairlead.simulation.names import domain_rank
from fairlead.simulation.values import Request

_Rank = tuple[int, str]
"""How well a chain fits, -1 for not at all, and why, in words; without words when it asks for nothing."""


class Choice(NamedTuple):
    """What became of the filter chains of a listener."""

    chain: FilterChain | None
    why: str
    """Why it was taken; empty when it takes everything."""
    not_chosen: list[tuple[str, str]]
    """The others, and why they were not."""


def choose(listener: Listener, request: Request) -> Choice:
    """The filter chain that takes the connection."""
    left = list(listener.filter_chains)
    not_chosen: list[tuple[str, str]] = []
    why: list[str] = []
    for criterion in _CRITERIA:
        ranks = [criterion(chain.filter_chain_match, request) for chain in left]
        best = max((rank for rank, _ in ranks), default=-1)
        for chain, (rank, words) in zip(left, ranks, strict=True):
            if rank < best or rank < 0:
                not_chosen.append((chain.name, words if rank < 0 else _better(left, ranks, best)))
        left = [chain for chain, (rank, _) in zip(left, ranks, strict=True) if rank == best >= 0]
        why += {words for rank, words in ranks if rank == best and words and best >= 0}
    if left:
        return Choice(left[0], ", ".join(why), not_chosen)
    if listener.HasField("default_filter_chain"):
        return Choice(listener.default_filter_chain, "no other filter chain takes the connection", not_chosen)
    return Choice(None, "", not_chosen)


def _better(chains: Iterable[FilterChain], ranks: Iterable[_Rank], best: int) -> str:
    name = next(chain.name for chain, (rank, _) in zip(chains, ranks, strict=True) if rank == best)
    return f"{name} fits better"


# --- Criteria ---------------------------------------------------------------------------------------------------------


def _destination_port(match: FilterChainMatch, request: Request) -> _Rank:
    if not match.HasField("destination_port"):
        return 0, ""
    wanted = match.destination_port.value
    return (1, f"port {wanted}") if wanted == request.port else (-1, f"it is for port {wanted}")


def _server_name(match: FilterChainMatch, request: Request) -> _Rank:
    name = request.asked_server_name.lower()
    if not match.server_names:
        return 0, ""
    ranks = [(rank, pattern) for pattern in match.server_names if (rank := domain_rank(pattern, name)) is not None]
    if name and ranks:
        rank, pattern = max(ranks)
        return rank + 1, f"server name {name}" + ("" if pattern == name else f" is one of {pattern}")
    wanted = _listed(match.server_names)
    if not request.tls:
        return -1, f"it is for TLS with server name {wanted}"
    return -1, f"it is for server name {wanted}" + ("" if name else ", and the client asks for none")


def _transport(match: FilterChainMatch, request: Request) -> _Rank:
    if not match.transport_protocol:
        return 0, ""
    found = "tls" if request.tls else "raw_buffer"
    words = {"tls": "TLS", "raw_buffer": "plaintext"}
    wanted = words.get(match.transport_protocol, match.transport_protocol)
    return (1, wanted) if match.transport_protocol == found else (-1, f"it is for {wanted}")


def _source(match: FilterChainMatch, request: Request) -> _Rank:
    if not match.source_prefix_ranges:
        return 0, ""
    wanted = _listed([f"{found.address_prefix}/{found.prefix_len.value}" for found in match.source_prefix_ranges])
    if not request.source_address:
        return -1, f"it is for clients of {wanted}, and no client address is given"
    lengths = [found.prefix_len.value for found in match.source_prefix_ranges if _holds(found, request.source_address)]
    return (1 + max(lengths), f"client of {wanted}") if lengths else (-1, f"it is for clients of {wanted}")


def _holds(found: CidrRange, address: str) -> bool:
    network = ipaddress.ip_network(f"{found.address_prefix}/{found.prefix_len.value}", strict=False)
    return ipaddress.ip_address(address) in network


_CRITERIA: tuple[Callable[[FilterChainMatch, Request], _Rank], ...] = (
    _destination_port,
    _server_name,
    _transport,
    _source,
)


def _listed(names: Iterable[str]) -> str:
    found = list(names)
    return ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")
