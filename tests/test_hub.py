"""The hub: which stream is offered what, what a change costs, and what outlives faults of our own."""

import asyncio
import gc
import itertools
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog
from fairlead import diagnosis, translation
from fairlead.derive.collections import ComputedCollection
from fairlead.errors import SourceError
from fairlead.problems import FieldPath, ObjectKey, Position
from fairlead.resolve.scope import Locality, Proxy
from fairlead.resolve.selection import selection
from fairlead.server import groups, hub
from fairlead.server.hub import Hub
from fairlead.snapshot import types
from fairlead.snapshot.table import Snapshot, Table
from fairlead.sources.base import Deliver, Update
from fairlead.world import World
from support.istio import TO_SHOP, gateway, http, service, virtual_service
from support.server import running
from support.stack import until
from support.worlds import objects, world

SHOP = service("shop")
EDGE = gateway("edge", http())
ROUTE = virtual_service("a", f"http: [{{{TO_SHOP}}}]")
CLUSTER = "outbound|80||shop.edge.svc.cluster.local"


def proxy(app: str = "edge", **more: Any) -> Proxy:
    return Proxy(**{"namespace": "edge", "labels": frozenset({("app", app)}), **more})


class Script:
    """A source that tells what a test tells it to."""

    def __init__(self, *texts: str) -> None:
        self._first = texts
        self._end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.deliver: Deliver | None = None

    async def run(self, deliver: Deliver) -> None:
        self.deliver = deliver
        await self.tell(*self._first)
        await self._end

    async def tell(self, *texts: str) -> None:
        assert self.deliver is not None
        await self.deliver(Update(tuple(obj for text in texts for obj in objects(text)), (), (), synced=True))

    def end(self, failure: Exception | None = None) -> None:
        if failure is None:
            self._end.set_result(None)
        else:
            self._end.set_exception(failure)

    def locate(self, key: ObjectKey, path: FieldPath) -> Position | None:
        return None


class Stream:
    """A subscriber that notes what happens to it."""

    def __init__(self, who: Proxy, name: str = "", notes: list[str] | None = None) -> None:
        self.proxy = who
        self.offers: list[Snapshot] = []
        self.woken = 0
        self._name = name
        self._notes = [] if notes is None else notes

    def offer(self, snapshot: Snapshot) -> None:
        self.offers.append(snapshot)
        self._notes.append(f"{self._name} offered")

    def wake(self) -> None:
        self.woken += 1
        self._notes.append(f"{self._name} woken")

    def names(self, type_url: str) -> set[str]:
        return set(self.offers[-1].tables[type_url].names())


@asynccontextmanager
async def working(*texts: str) -> AsyncIterator[tuple[Hub, Script, list[Any]]]:
    """A hub, its source, and the log."""
    source = Script(*texts)
    made = Hub(source)
    with structlog.testing.capture_logs() as log:
        async with running(made):
            await asyncio.wait_for(made.ready.wait(), 20)
            yield made, source, log


async def settled(made: Hub) -> None:
    await until(lambda: made.settled, "the hub is settled")


# --- Streams come and go ----------------------------------------------------------------------------------------------


async def test_streams_of_one_proxy_share_what_is_offered() -> None:
    async with working(EDGE, ROUTE, SHOP) as (made, _, _):
        first, second, other = Stream(proxy()), Stream(proxy()), Stream(proxy("other"))
        for stream in (first, second, other):
            made.connect(stream)
        await settled(made)
        assert first.offers == second.offers
        assert first.names(types.CLUSTER) == {CLUSTER}
        assert other.names(types.CLUSTER) == set()
        made.disconnect(first)
        await settled(made)
        await asyncio.sleep(0)
        assert len(second.offers) == 1


async def test_one_encoding_serves_groups_that_differ_in_something_else() -> None:
    async with working(EDGE, ROUTE, SHOP) as (made, _, _):
        streams = [Stream(proxy(bind_address=address)) for address in ("127.0.0.1", "127.0.0.2")]
        streams.append(Stream(proxy(locality=Locality("r"), virtual_host_discovery=True)))
        for stream in streams:
            made.connect(stream)
        await settled(made)
        assert len({id(stream.offers[0]) for stream in streams}) == 3
        assert len({id(stream.offers[0].tables[types.CLUSTER].get(CLUSTER)) for stream in streams}) == 1
        assert len({stream.offers[0].tables[types.LISTENER].version for stream in streams}) == 3


async def test_a_stream_may_leave_before_it_is_offered_anything_and_more_than_once() -> None:
    async with working(EDGE, ROUTE, SHOP) as (made, source, _):
        stays, leaves = Stream(proxy()), Stream(proxy())
        made.connect(stays)
        made.connect(leaves)
        made.disconnect(leaves)
        await settled(made)
        for _ in range(3):
            made.disconnect(leaves)
            await settled(made)
        made.disconnect(Stream(proxy()))  # has never been there
        await settled(made)
        assert leaves.offers == []
        await source.tell(virtual_service("b", f"http: [{{{TO_SHOP}}}]", hosts="b.example.com"))
        await settled(made)
        assert (len(stays.offers), stays.woken) == (1, 1)


async def test_a_stream_may_leave_while_its_tables_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with working(EDGE, ROUTE, SHOP) as (made, _, log):
        leaves, stays = Stream(proxy(namespace="late")), Stream(proxy())
        monkeypatch.setattr(hub, "_SLICE", 0.0)
        monkeypatch.setattr(hub, "_RETURN_WITHIN", 0.0)
        computed = translation.resource_maps

        def leave(*arguments: Any) -> Any:
            made.disconnect(leaves)
            return computed(*arguments)

        monkeypatch.setattr(translation, "resource_maps", leave)
        made.connect(leaves)
        await settled(made)
        monkeypatch.undo()
        made.connect(stays)
        await settled(made)
        assert stays.names(types.CLUSTER) == {CLUSTER}
        assert len(list(made._groups)) == 1
        assert log == []


async def test_what_nobody_uses_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_RETURN_WITHIN", 0.0)
    texts = [virtual_service(f"v{n}", f"http: [{{{TO_SHOP}}}]", hosts=f"h{n}.example.com") for n in range(20)]
    async with working(EDGE, SHOP, *texts) as (made, _, _):
        keeper = Stream(proxy())
        made.connect(keeper)
        await settled(made)

        def size() -> tuple[int, int, int]:
            return sum(map(len, made.world.graph._memo.values())), len(made._groups._feeds), len(list(made._groups))

        async def visit(count: int) -> None:
            streams = [
                Stream(
                    proxy(
                        namespace=f"ns-{number % 5}",
                        bind_address=f"127.0.0.{number + 1}",
                        locality=Locality(str(number % 3)),
                        virtual_host_discovery=bool(number % 2),
                    )
                )
                for number in range(count)
            ]
            for stream in streams:
                made.connect(stream)
            await settled(made)
            tables.extend(weakref.ref(table) for stream in streams for table in stream.offers[0].tables.values())
            for stream in streams:
                made.disconnect(stream)

        tables: list[weakref.ref[Table]] = []
        before = size()
        await visit(30)
        await until(lambda: size() == before, "all is as before")
        gc.collect()
        kept = {id(table) for table in keeper.offers[0].tables.values()}
        assert {id(table()) for table in tables if table() is not None} <= kept
        assert set(made._streams) == {keeper.proxy}


@pytest.mark.parametrize(
    ("edit", "changed"),
    [
        (virtual_service("v1", f"http: [{{name: new, {TO_SHOP}}}]", hosts="h1.com", gateways="g1"), 1),
        (service("unused"), 0),
    ],
)
async def test_an_edit_visits_fewer_collections_than_there_are_selections(
    edit: str, changed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each selection has some thirty; to ask every one of them whether it is up to date was most of a wave's cost."""
    visited: set[Any] = set()
    refresh_steps = ComputedCollection.refresh_steps

    def noted(collection: Any) -> Iterator[None]:
        visited.add(collection)
        return refresh_steps(collection)

    numbers = range(100)
    gateways = [gateway(f"g{n}", http(), selector=f"{{app: a{n}}}") for n in numbers]
    routes = [virtual_service(f"v{n}", f"http: [{{{TO_SHOP}}}]", hosts=f"h{n}.com", gateways=f"g{n}") for n in numbers]
    async with working(SHOP, *gateways, *routes) as (made, _, _):
        for n in numbers:
            made.connect(Stream(proxy(f"a{n}")))
        await until(lambda: made.settled and not made._regrouped, "all is told")
        for obj in objects(edit):
            made.world.put(obj)
        monkeypatch.setattr(ComputedCollection, "refresh_steps", noted)
        for _ in made._groups.steps(set()):
            pass
        assert len(made._groups.publish(set())) == changed
        for _ in made._problems.steps():
            pass
    assert 0 < len(visited) < len(numbers)


# --- What a change costs ----------------------------------------------------------------------------------------------


async def test_only_streams_that_a_change_concerns_are_woken() -> None:
    async with working(EDGE, gateway("inner", http(), selector="{app: inner}"), ROUTE, SHOP) as (made, source, _):
        edge, inner = Stream(proxy()), Stream(proxy("inner"))
        made.connect(edge)
        made.connect(inner)
        await settled(made)
        await source.tell(virtual_service("b", f"http: [{{{TO_SHOP}}}]", hosts="b.example.com"))
        await settled(made)
        assert (edge.woken, inner.woken) == (1, 0)
        await source.tell(service("far", namespace="far"))
        await settled(made)
        assert (edge.woken, inner.woken) == (1, 0)


async def test_a_burst_costs_one_wave() -> None:
    async with working(EDGE, ROUTE, SHOP) as (made, source, _):
        stream = Stream(proxy())
        made.connect(stream)
        await settled(made)
        for number in range(20):
            await source.tell(virtual_service("a", f"http: [{{timeout: {number + 1}s, {TO_SHOP}}}]"))
        await settled(made)
        assert stream.woken == 1


async def test_a_new_group_does_not_hold_up_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is changed while it is computed is told first; then it goes on."""
    async with working(EDGE, ROUTE, SHOP) as (made, source, _):
        notes: list[str] = []
        old, new = Stream(proxy(), "old", notes), Stream(proxy(namespace="far"), "new", notes)
        made.connect(old)
        await settled(made)
        monkeypatch.setattr(hub, "_SLICE", 0.0)
        steps = groups._Feed.steps
        tasks: list[asyncio.Future[None]] = []
        changes = iter([virtual_service("a", f"http: [{{timeout: 1s, {TO_SHOP}}}]")])

        def interrupted(feed: Any) -> Any:
            for _ in steps(feed):
                if any(group.key.selection.namespace == "far" for group in feed.groups):
                    tasks.extend(asyncio.ensure_future(source.tell(text)) for text in changes)
                yield

        monkeypatch.setattr(groups._Feed, "steps", interrupted)
        made.connect(new)
        await until(lambda: new.offers, "the new one is offered something")
        assert notes == ["old offered", "old woken", "new offered"]


async def test_streams_that_come_all_the_while_do_not_make_a_new_group_start_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A thousand proxies come back at once to a server that has not served any of their kind yet."""
    async with working(EDGE, ROUTE, SHOP) as (made, _, _):
        monkeypatch.setattr(hub, "_SLICE", 0.0)
        notes: list[str] = []
        streams = [Stream(proxy(), str(number), notes) for number in range(20)]
        coming, steps = iter(streams), groups.Groups.steps

        def with_one_more_each(all_groups: Any, new: Any) -> Any:
            if new:
                notes.append("computing")
            for _ in steps(all_groups, new):
                for stream in itertools.islice(coming, 1):
                    made.connect(stream)
                yield

        monkeypatch.setattr(groups.Groups, "steps", with_one_more_each)
        made.connect(next(coming))
        await until(lambda: streams[0].offers, "the first one is offered something")
        assert notes[:2] == ["computing", "0 offered"]


async def test_what_proxies_had_is_kept_up_to_date_for_their_return(monkeypatch: pytest.MonkeyPatch) -> None:
    async with working(EDGE, ROUTE, SHOP) as (made, source, _):
        monkeypatch.setattr(hub, "_RETURN_WITHIN", 3600.0)
        first, second = (Stream(proxy(bind_address="127.0.0.9")) for _ in range(2))
        made.connect(first)
        await settled(made)
        (group,) = made.groups
        made.disconnect(first)
        await source.tell(service("shop", "{port: 81}"))
        await settled(made)
        computed = dict(made.world.graph.computed)
        made.connect(second)
        await settled(made)
        assert second.offers == [group.snapshot]
        assert second.names(types.CLUSTER) == {"outbound|81||shop.edge.svc.cluster.local"}
        again = {name for name, times in made.world.graph.computed.items() if times > computed.get(name, 0)}
        assert again <= {"selections", "expected"}, "what the proxy gets is there already"

        monkeypatch.setattr(hub, "_MOST_ABANDONED", 1)
        made.disconnect(second)
        made.connect(third := Stream(proxy(bind_address="127.0.0.10")))
        await settled(made)
        made.disconnect(third)
        await until(lambda: [found.key.bind_address for found in made.groups] == ["127.0.0.10"], "the last one is kept")

        monkeypatch.setattr(hub, "_RETURN_WITHIN", 0.05)
        made.connect(third)
        await settled(made)
        made.disconnect(third)
        await until(lambda: not list(made.groups), "they have not come back, so nothing is kept")


def test_a_group_whose_computing_was_given_up_is_kept() -> None:
    made = world(EDGE, ROUTE, SHOP)
    found = groups.Groups(made)
    group = found.get(groups.GroupKey.of(selection(made, proxy()), proxy()), proxy())
    list(found.drop_unused({group}))
    assert list(found) == [group]
    list(found.drop_unused(set()))
    assert list(found) == []


async def test_what_is_published_goes_out_before_problems_are_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async with working(EDGE, ROUTE, SHOP) as (made, source, _):
        notes: list[str] = []
        stream = Stream(proxy(), "stream", notes)
        made.connect(stream)
        await settled(made)
        monkeypatch.setattr(made._problems, "steps", lambda: notes.append("problems") or iter(()))
        await source.tell(virtual_service("a", f"http: [{{timeout: 1s, {TO_SHOP}}}]"))
        await until(lambda: "problems" in notes, "problems are looked for")
        assert notes == ["stream offered", "stream woken", "problems"]


# --- Faults of our own ------------------------------------------------------------------------------------------------


def failing(function: Callable[..., Any], when: Callable[..., bool]) -> Callable[..., Any]:
    def fail(*arguments: Any, **named: Any) -> Any:
        if when(*arguments):
            raise ValueError("a fault of ours")
        return function(*arguments, **named)

    return fail


async def test_a_resource_that_cannot_be_made_keeps_its_last_state(monkeypatch: pytest.MonkeyPatch) -> None:
    async with working(EDGE, ROUTE, SHOP) as (made, source, log):
        stream = Stream(proxy())
        made.connect(stream)
        await settled(made)
        table = stream.offers[0].tables[types.CLUSTER]
        before = table.get(CLUSTER)
        monkeypatch.setattr(
            translation.render_clusters,
            "cluster",
            failing(translation.render_clusters.cluster, lambda cluster: cluster.backend.host.startswith("shop")),
        )
        await source.tell(
            rule_for_shop(),
            service("store"),
            virtual_service("b", "http: [{route: [{destination: {host: store}}]}]", hosts="b.example.com"),
        )
        await settled(made)
        assert table.get(CLUSTER) is before
        assert len(table.names()) == 2
        (event,) = log
        assert event["function"] == "cluster_resources"
        assert str(event["exc_info"]) == "a fault of ours"


async def test_which_resources_there_are_may_fail_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    async with working(EDGE, ROUTE, SHOP, service("store")) as (made, source, log):
        stream, late = Stream(proxy()), Stream(proxy(namespace="late"))
        made.connect(stream)
        await settled(made)
        fails = failing(translation.backends_of_routes, lambda *_: True)
        monkeypatch.setattr(translation, "backends_of_routes", fails)
        await source.tell(
            virtual_service("b", "http: [{route: [{destination: {host: store}}]}]", hosts="b.example.com")
        )
        await settled(made)
        assert stream.names(types.CLUSTER) == {CLUSTER}
        assert [event["function"] for event in log] == ["reachable_backends"]
        made.connect(late)  # no cluster is known for it, which does not mean that there is none
        await until(lambda: len(log) > 1, "it is logged")
        assert late.offers == []
        monkeypatch.undo()
        await source.tell(virtual_service("b", "http: [{route: [{destination: {host: shop}}]}]", hosts="b.example.com"))
        await until(lambda: late.offers, "it is served in the end")
        assert late.names(types.CLUSTER) == {CLUSTER}


async def test_a_table_that_cannot_be_made_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    async with working(EDGE, ROUTE, SHOP) as (made, source, log):
        stream, late = Stream(proxy()), Stream(proxy(locality=Locality("elsewhere")))
        made.connect(stream)
        await settled(made)
        monkeypatch.setattr(
            groups._Feed,
            "publish",
            failing(groups._Feed.publish, lambda feed: feed.table.type_url == types.CLUSTER_LOAD_ASSIGNMENT),
        )
        made.connect(late)  # its endpoints cannot be computed, and to offer none would empty it
        await source.tell(virtual_service("a", f"http: [{{timeout: 1s, {TO_SHOP}}}]"))
        await until(lambda: stream.woken, "routes are published")
        assert late.offers == []
        assert not made.settled
        assert {event["type_url"] for event in log} == {types.CLUSTER_LOAD_ASSIGNMENT}
        monkeypatch.undo()
        await source.tell(virtual_service("a", f"http: [{{timeout: 2s, {TO_SHOP}}}]"))
        await until(lambda: late.offers, "it is served in the end")
        assert late.names(types.CLUSTER_LOAD_ASSIGNMENT) == {CLUSTER}


async def test_an_object_that_cannot_be_taken_in_harms_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    async with working(EDGE, ROUTE, SHOP) as (made, source, log):
        stream = Stream(proxy())
        made.connect(stream)
        await settled(made)
        monkeypatch.setattr(World, "put", failing(World.put, lambda _, obj: obj.metadata.name == "bad"))
        good = virtual_service("b", f"http: [{{{TO_SHOP}}}]", hosts="b.example.com")
        await source.tell(virtual_service("bad", f"http: [{{{TO_SHOP}}}]", hosts="c.example.com"), good)
        await settled(made)
        assert stream.woken == 1
        assert [event["object"] for event in log] == ["VirtualService edge/bad"]


@pytest.mark.parametrize(
    "target",
    [
        (diagnosis, "problem_indexes"),
        (translation, "resource_maps"),
        (hub, "selections"),
        (hub.Problems, "set_source"),
        (hub.Problems, "tell"),
    ],
    ids=lambda target: target[1],
)
async def test_a_wave_that_fails_ends_nothing(target: tuple[Any, str], monkeypatch: pytest.MonkeyPatch) -> None:
    async with working(EDGE, ROUTE, SHOP) as (made, source, log):
        stream = Stream(proxy())
        made.connect(stream)
        await settled(made)
        monkeypatch.setattr(*target, failing(getattr(*target), lambda *_: True))
        new = Stream(proxy("new"))
        made.connect(new)
        await source.tell(virtual_service("a", f"http: [{{timeout: 1s, {TO_SHOP}}}]"))
        await until(lambda: log, "it is logged")
        if target[0] is not hub or target[1] != "selections":
            await until(lambda: stream.woken, "those who are served already go on to be")
        monkeypatch.undo()
        await source.tell(virtual_service("a", f"http: [{{timeout: 2s, {TO_SHOP}}}]"))
        await until(lambda: made.settled and stream.woken and new.offers, "all is made good")
        assert all(str(event["log_level"]) == "error" for event in log)


async def test_problems_that_cannot_be_told_do_not_keep_proxies_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.Problems, "steps", failing(hub.Problems.steps, lambda *_: True))
    async with working(EDGE, ROUTE, SHOP) as (made, _, log):
        stream = Stream(proxy())
        made.connect(stream)
        await until(lambda: stream.offers, "it is served")
        assert {event["event"] for event in log} == {"problems could not be told"}


@pytest.mark.parametrize("failure", [None, RuntimeError("the disk is gone")])
async def test_the_end_of_the_source_is_the_end(failure: Exception | None) -> None:
    source = Script(EDGE)
    made = Hub(source)
    task = asyncio.create_task(made.run())
    await asyncio.wait_for(made.ready.wait(), 20)
    source.end(failure)
    with pytest.raises(type(failure) if failure else SourceError):
        await asyncio.wait_for(task, 20)


def rule_for_shop() -> str:
    return """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: shop, namespace: edge}
spec: {host: shop, trafficPolicy: {loadBalancer: {simple: RANDOM}}}
"""
