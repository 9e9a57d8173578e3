"""5,000 VirtualServices on one gateway: they work, and an edit of one costs what one costs."""

from collections import Counter
from typing import Any

import pytest
from e2e.objects import (
    FRONT,
    HTTP,
    PROXY_LABELS,
    PROXY_NAMESPACE,
    gateway,
    http_server,
    service,
    together,
    virtual_service,
)
from e2e.observing import in_sync, noticed, problems, steady
from fairlead.derive import Changes
from fairlead.playground.client import Load
from fairlead.resolve.scope import Proxy
from fairlead.resolve.selection import selection
from fairlead.snapshot import types
from fairlead.translation import resource_maps
from fairlead.world import World
from support.stack import Stack, loopback, until
from support.worlds import put, world

MANY = 5_000
LAST = MANY - 1


def routes(number: int, version: str = "old") -> str:
    headers = f"headers: {{response: {{set: {{x-version: {version}}}}}}}"
    http = f"http: [{{{headers}, route: [{{destination: {{host: web}}}}]}}]"
    return virtual_service(f"h{number}", f"h{number}.test", http)


def base(endpoint: int = 9001) -> str:
    return together(FRONT, service("web", 80, endpoint), gateway(http_server()))


# --- What is computed -------------------------------------------------------------------------------------------------


class Proxied:
    """The resources of one proxy, as the server keeps them up to date."""

    def __init__(self, made: World, proxy: Proxy) -> None:
        self._world = made
        self._maps: dict[str, Any] = dict(resource_maps(made, selection(made, proxy), proxy))
        self._changes: dict[str, Changes[Any]] = {kind: found.changes() for kind, found in self._maps.items()}

    def update(self) -> tuple[Counter[str], dict[str, int]]:
        """Bring all up to date: what was computed, and type -> how many resources may have changed."""
        before = self._world.graph.computed.copy()
        for found in self._maps.values():
            for _ in found.refresh_steps():
                pass
        changed = {types.SHORT_NAMES[kind]: len(list(changes.take())) for kind, changes in self._changes.items()}
        return self._world.graph.computed - before, {kind: count for kind, count in changed.items() if count}


@pytest.mark.parametrize("discovering", [True, False], ids=["delta", "sotw"])
def test_an_edit_costs_what_depends_on_it(discovering: bool) -> None:
    made = world(base(), *map(routes, range(MANY)))
    labels = frozenset(PROXY_LABELS.items())
    proxied = Proxied(made, Proxy(namespace=PROXY_NAMESPACE, labels=labels, virtual_host_discovery=discovering))
    computed, changed = proxied.update()
    assert computed["virtual_hosts"] == MANY
    assert sum(changed.values()) == MANY * discovering + 4  # listener, route configuration, cluster, endpoints

    of_one = dict.fromkeys(("_selectors", "bindings", "http_routes", "virtual_hosts", "virtual_host_leaves"), 1)
    of_one |= dict.fromkeys(["virtual_host_resources"] if discovering else ["_chunks", "route_configurations"], 1)
    put(made, routes(LAST, "new"))
    assert proxied.update() == (of_one, {"vhds" if discovering else "rds": 1})
    put(made, routes(LAST, "new"))
    assert proxied.update() == ({}, {})

    put(made, routes(MANY))
    computed, changed = proxied.update()
    assert computed.items() >= of_one.items()
    assert computed.total() < 20
    assert changed == {"vhds" if discovering else "rds": 1}

    put(made, base(endpoint=9002))
    computed, changed = proxied.update()
    assert computed.total() < 20
    assert changed == {"eds": 1}


# --- What proxies see -------------------------------------------------------------------------------------------------

COUNTED = r"config_reload$|(listener|cluster)_(added|modified|removed)$|(cds|lds|rds|vhds)\..*update_success$|rejected$"

TABLE = "http.outbound_0.0.0.0_8080.rds"
SEEN = {
    # A table whose virtual hosts are resources of their own is not sent again, but Envoy counts it as loaded anew.
    "delta": {
        f"{TABLE}.vhds.http.8080.update_success",
        f"{TABLE}.vhds.http.8080.config_reload",
        f"{TABLE}.http.8080.config_reload",
    },
    "sotw": {f"{TABLE}.http.8080.update_success", f"{TABLE}.http.8080.config_reload"},
}
"""What Envoy counts when one virtual host changes, each once."""


@pytest.mark.e2e
@pytest.mark.timeout(180)
async def test_the_last_of_many_hosts_answers(stack: Stack) -> None:
    """Two proxies on one control plane: one for each variant of the protocol."""
    stack.write("base.yaml", base())
    stack.write("many.yaml", together(*map(routes, range(LAST))))
    stack.write("last.yaml", routes(LAST))
    await stack.serve()
    await stack.backend("web", 9001)
    addresses = {"delta": stack.address, "sotw": loopback()}
    envoys = {
        protocol: await stack.envoy(protocol, namespace=PROXY_NAMESPACE, labels=PROXY_LABELS, address=address)
        for protocol, address in addresses.items()
    }
    await in_sync(stack)
    assert await problems(stack) == []
    before = {protocol: await envoy.stats(COUNTED) for protocol, envoy in envoys.items()}

    async def versions(number: int) -> list[str]:
        found = []
        for address in addresses.values():
            async with stack.client(address=address) as client:
                found.append((await client.get(f"http://h{number}.test:{HTTP}/")).headers.get("x-version", ""))
        return found

    for number in (0, MANY // 2, LAST):
        assert await versions(number) == ["old", "old"]

    async def is_new() -> bool:
        return await versions(LAST) == ["new", "new"]

    async with steady(Load(stack.address, HTTP, "h0.test", "/", tls=False)):
        stack.write("last.yaml", routes(LAST, "new"))
        await until(is_new, "the edit is served")
        await noticed(stack)
        await in_sync(stack)
    assert await versions(0) == ["old", "old"]
    for protocol, envoy in envoys.items():
        after = await envoy.stats(COUNTED)
        changed = {name: after[name] - count for name, count in before[protocol].items() if after[name] != count}
        assert changed == dict.fromkeys(SEEN[protocol], 1)
