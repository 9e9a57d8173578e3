"""What is wrong is told in the log once, with its place, and in the status as long as it is so."""

import asyncio
from pathlib import Path
from typing import Any

import structlog
from e2e.objects import issued, secret
from fairlead.server.hub import Hub
from fairlead.sources.files.source import FilesSource
from support.istio import TO_SHOP, gateway, http, service, tls, virtual_service
from support.server import Server, running
from support.stack import until

EDGE, SHOP = gateway("edge", http()), service("shop")
LOST = virtual_service("lost", "http:\n- route:\n  - destination: {host: nowhere}", hosts="lost.example.com")
TO_NOWHERE = "no service nowhere.edge.svc.cluster.local"


def problems(server: Server) -> list[str]:
    return [f"{problem.file}:{problem.line} {problem.code}" for problem in server.status().problems]


async def test_problems_are_told_before_a_proxy_comes(tmp_path: Path) -> None:
    """Those that show only in the eyes of a proxy: Gateways say for which."""
    async with Server(tmp_path, gateway("edge", tls("lost.example.com")), LOST) as server:
        unknown, missing = await server.logged(TO_NOWHERE), await server.logged("missing-credential")
        assert missing["object"] == "Gateway edge/edge"
        assert unknown["at"] == f"{tmp_path}/1.yaml:10:27"
        assert unknown["object"] == "VirtualService edge/lost"
        assert f"{tmp_path}/1.yaml:10 unknown-service" in problems(server)


async def test_a_problem_is_told_once_and_once_when_it_is_solved(tmp_path: Path) -> None:
    async with Server(tmp_path, EDGE, LOST, SHOP) as server:
        await server.logged(TO_NOWHERE)
        server.write("other.yaml", virtual_service("b", f"http: [{{{TO_SHOP}}}]", hosts="b.example.com"))
        await until(lambda: server.status().objects["VirtualService"] == 2, "the edit is seen")
        for app in ("edge", "edge", "inner"):  # problems of the same objects for several proxies are the same
            async with server.client(app=app) as client:
                await client.until(lambda client=client: "cds" in client.held)
                await server.settled()
        assert len(server.events(TO_NOWHERE)) == 1
        server.write("more.yaml", service("nowhere"))
        solved = await server.logged(TO_NOWHERE, times=2)
        assert (solved["event"], solved["log_level"]) == ("solved", "info")
        assert solved["at"] == f"{tmp_path}/1.yaml:10:27"
        assert problems(server) == []
        server.write("more.yaml", "")
        await server.logged(TO_NOWHERE, times=3)


async def test_two_selections_tell_the_same_problem_once(tmp_path: Path) -> None:
    inner = gateway("inner", http(8080), selector="{app: inner}")
    route = virtual_service(
        "lost", "http: [{route: [{destination: {host: nowhere}}]}]", hosts="lost.example.com", gateways="edge, inner"
    )
    async with Server(tmp_path, EDGE, inner, route) as server, server.client(), server.client(app="inner") as client:
        await client.until(lambda: "lds" in client.held)
        await server.settled()
        assert len(server.events(TO_NOWHERE)) == 1
        assert len(problems(server)) == 1


async def test_lines_that_move_are_shown_where_they_are_and_not_told_again(tmp_path: Path) -> None:
    broken = virtual_service("broken", "htp: []", hosts="c.example.com")
    async with Server(tmp_path, EDGE, LOST, broken) as server:
        await server.logged(TO_NOWHERE)
        await server.logged("htp")
        server.write("1.yaml", f"# a line more\n{LOST}")
        server.write("2.yaml", f"# a line more\n{broken}")
        lost, unknown = f"{tmp_path}/1.yaml:11 unknown-service", f"{tmp_path}/2.yaml:9 unknown-field"
        await until(lambda: {lost, unknown} <= set(problems(server)), f"places move: {problems(server)}")
        assert len(server.events(TO_NOWHERE)) == 1
        assert len(server.events("htp")) == 1


async def test_what_proxies_see_counts_as_soon_as_there_are_any(tmp_path: Path) -> None:
    """A Gateway does not say in which namespace its proxies are, and that decides which Secrets they may have."""
    certificate = secret("cert", issued("a", "a.example.com"), namespace="far")
    async with Server(tmp_path, gateway("edge", tls("a.example.com")), certificate) as server:
        await server.logged("missing-credential")
        async with server.client(NAMESPACE="far"):
            solved = await server.logged("missing-credential", times=2)
            assert solved["event"] == "solved", server.log
            assert problems(server) == []
        await server.logged("missing-credential", times=3)


async def test_a_path_that_does_not_exist_is_told_though_nothing_is_served(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    hub = Hub(FilesSource([missing]))
    with structlog.testing.capture_logs() as log:
        async with running(hub):
            await until(lambda: log, "it is told")
            assert f"{missing} does not exist" in str(log)
            assert not hub.ready.is_set()
            (problem,) = hub.problems()
            assert str(missing) in problem.message
            missing.mkdir()
            await asyncio.wait_for(hub.ready.wait(), 20)
            assert hub.problems() == []


async def test_an_edit_costs_what_it_concerns(tmp_path: Path) -> None:
    """Problems are not gathered anew: those of 200 other objects are neither computed nor placed. A Service that cannot
    be in front of a proxy says nothing of which proxies are expected."""
    routes = "---".join(
        virtual_service(f"v{number}", "http: [{route: [{destination: {host: nowhere}}]}]", hosts=f"h{number}.test")
        for number in range(200)
    )
    async with Server(tmp_path, EDGE, routes) as server:
        await server.logged(TO_NOWHERE, times=200)
        placed: list[Any] = []
        locate = server.hub._problems._locate
        server.hub._problems._locate = lambda key, path: placed.append(key) or locate(key, path)
        before = server.hub.world.graph.computed.copy()
        server.write("9.yaml", virtual_service("new", "http: [{route: [{destination: {host: none}}]}]", hosts="n.test"))
        await server.logged("no service none.edge")
        assert len(placed) == 1
        server.write("8.yaml", service("unrelated", selector="{app: unrelated}"))
        await until(lambda: server.status().objects.get("Service"), "the Service is there")
        counts = server.hub.world.graph.computed - before
        assert max(counts.values()) <= 2
        assert "proxies_implied" not in counts
