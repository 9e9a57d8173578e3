"""Whatever happens to files, and whichever proxies come and go: in the end each holds what a fresh one is given."""

import asyncio
import contextlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from e2e.objects import issued, secret
from fairlead.server import hub
from support.istio import gateway, http, service, tls, virtual_service
from support.server import Server
from support.stack import until
from support.variants import APPS, endpoints, rule_for
from support.xds_client import Held, XdsClient

CERTIFICATES = [issued(name, f"{name}.example.com") for name in ("one", "two")]
KINDS: list[dict[str, Any]] = [
    {"delta": delta, "app": app, **more}
    for app in APPS
    for delta, more in ((False, {}), (True, {}), (True, {"VHDS": True}), (True, {"BIND_ADDRESS": "127.0.0.9"}))
]


class Edits:
    """Changes of a folder, each of one file."""

    def __init__(self, server: Server, chance: random.Random) -> None:
        self._server = server
        self._chance = chance

    def make(self) -> None:
        one = self._chance.choice
        edits: list[Callable[[], tuple[str, str]]] = [
            lambda: ("gateway", gateway("edge", *self._servers(), selector=f"{{app: {one(APPS)}}}")),
            lambda: (
                "inner",
                gateway("inner", http(one((80, 8080)), one(('"*"', "i.example.com"))), selector="{app: inner}"),
            ),
            lambda: self._virtual_service(one("abc")),
            lambda: self._virtual_service(one("abc")),
            lambda: (shop := one(("shop", "store")), service(shop, "{name: http, port: 80}")),
            lambda: (f"{(shop := one(('shop', 'store')))}-endpoints", endpoints(shop, *self._addresses())),
            lambda: ("rule", rule_for("shop", one(("ROUND_ROBIN", "RANDOM", "LEAST_REQUEST")))),
            lambda: ("secret", secret("cert", one(CERTIFICATES), namespace="edge")),
            lambda: ("front", service("front", f"{{port: 80, targetPort: {one((80, 8000))}}}", "{app: edge}")),
        ]
        name, text = one(edits)()
        fate = self._chance.random()
        self._server.write(f"{name}.yaml", "" if fate < 0.15 else "kind: [" if fate < 0.2 else text)

    def _servers(self) -> list[str]:
        possible = [http(), http(8081, "a.example.com"), tls("s.example.com"), tls("t.example.com", "more", 8443)]
        return self._chance.sample(possible, self._chance.randint(1, len(possible)))

    def _virtual_service(self, name: str) -> tuple[str, str]:
        one = self._chance.choice
        route = f"http: [{{route: [{{destination: {{host: {one(('shop', 'store', 'nowhere'))}}}}}]}}]"
        hosts = one((f"{name}.example.com", f"{name}.example.com, s.example.com"))
        return f"route-{name}", virtual_service(
            name, route, hosts=hosts, gateways=one(("edge", "inner", "edge, inner"))
        )

    def _addresses(self) -> list[str]:
        return self._chance.sample([f"10.0.0.{number}" for number in range(5)], self._chance.randint(0, 3))


@pytest.mark.parametrize("seed", range(4))
async def test_all_proxies_end_up_with_what_a_fresh_one_gets(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    if seed % 2:
        monkeypatch.setattr(hub, "_SLICE", 0.0)  # every step may be interrupted
    async with Server(tmp_path) as server, contextlib.AsyncExitStack() as exits:
        edits = Edits(server, chance)
        for _ in range(20):
            edits.make()
        clients: list[tuple[XdsClient, dict[str, Any], contextlib.AsyncExitStack]] = []

        async def connect() -> None:
            kind = chance.choice(KINDS)
            life = await exits.enter_async_context(contextlib.AsyncExitStack())
            clients.append((await life.enter_async_context(server.client(**kind)), kind, life))

        for _ in range(len(KINDS)):
            await connect()
        for _ in range(4):
            await asyncio.sleep(chance.choice((0.0, 0.002, 0.02)))  # how long nothing happens is part of the chance
            if chance.random() < 0.15:
                _, _, life = clients.pop(chance.randrange(len(clients)))
                await life.aclose()
                await connect()
            else:
                edits.make()

        for kind in KINDS:
            fresh = await exits.enter_async_context(server.client(**kind))
            veterans = [client for client, of, _ in clients if of == kind]

            async def alike(veterans: list[XdsClient] = veterans, fresh: XdsClient = fresh) -> bool:
                await server.settled()
                return bool(fresh.received) and all(held(client, fresh) == held(fresh, fresh) for client in veterans)

            await until(alike, f"clients like {kind} hold what a fresh one holds")
        assert not server.events("could not")
        assert not server.events("failed")


def held(client: XdsClient, fresh: XdsClient) -> Held:
    found = {kind: resources for kind, resources in client.held.items() if resources}
    if not client.delta and "sds" in found:
        # The state-of-the-world variant has no words for a Secret that is gone: clients keep it.
        found["sds"] = {name: body for name, body in found["sds"].items() if name in fresh.names("sds")}
    return {kind: resources for kind, resources in found.items() if resources}
