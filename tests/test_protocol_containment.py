"""What is refused is narrowed down to what is at fault; all else arrives, and nothing that was accepted is lost.

The client here refuses as Envoy 1.40 was seen to do: it names clusters and listeners at fault and takes in the others
of the response; of other types it takes in nothing of a response in which it finds a fault, and does not say where.
"""

from collections.abc import Mapping

import pytest
from fairlead._pb.envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse, DiscoveryResponse
from fairlead.protocol.containment import MOST_REFUSALS
from fairlead.protocol.delta import DeltaStream
from fairlead.protocol.events import SyncState
from fairlead.protocol.sotw import StateOfTheWorldStream
from fairlead.snapshot import wire
from fairlead.snapshot.messages import DeltaDiscoveryRequest, DiscoveryRequest, ErrorDetail, Response
from fairlead.snapshot.resource import Composition, Resource
from fairlead.snapshot.table import Snapshot, Variant
from fairlead.snapshot.types import (
    CLUSTER,
    CLUSTER_LOAD_ASSIGNMENT,
    LISTENER,
    ROUTE_CONFIGURATION,
    SECRET,
    VIRTUAL_HOST,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from support.xds_script import read_body, read_fields, resource

Items = Mapping[str, str]
"""Name of an item -> its content; what begins with `bad` is refused."""
NAMED = {CLUSTER, LISTENER}
FULL_STATE = {CLUSTER, LISTENER}
_ITEM_FIELD = 999


def composed(type_url: str, name: str, items: Items, frame: str = "1") -> Resource:
    parts = tuple(resource("an item", item, content) for item, content in items.items())
    head = resource(type_url, name, frame).body
    return Resource.composed(type_url, name, Composition(head, _ITEM_FIELD, parts))


class Client:
    """One stream, whose client accepts all that is not bad."""

    def __init__(self, variant: Variant, *types: str, names: Mapping[str, tuple[str, ...]] | None = None) -> None:
        self.variant = variant
        self.snapshot = Snapshot("all")
        self.has: dict[str, dict[str, bytes]] = {type_url: {} for type_url in types}
        self.refusals = 0
        self.types = types
        self.names = names or {}
        self.environment = ""
        """What is wrong with every listener."""
        self.now = 0.0
        self.connect()

    def connect(self, *, returning: bool = False) -> None:
        self.connect_without_answers(returning=returning)
        self.settle()

    def connect_without_answers(self, *, returning: bool = False) -> None:
        self.nonces = dict.fromkeys(self.types, "")
        self.stream = DeltaStream() if self.variant is Variant.DELTA else StateOfTheWorldStream()
        self.stream.offer(self.snapshot, self.now)
        for type_url in self.types:
            names = self.names.get(type_url, ())
            if isinstance(self.stream, DeltaStream):
                versions = {name: wire.content_hash(body) for name, body in self.has[type_url].items()}
                self.stream.receive(DeltaDiscoveryRequest(type_url, subscribe=names, initial_versions=versions))
            else:
                version = "some" if returning else ""
                self.stream.receive(DiscoveryRequest(type_url, names=names, version=version))

    def put(self, *resources: Resource) -> None:
        """Change the tables, and let the client and the server come to rest."""
        for each in resources:
            self.snapshot.tables[each.type_url].update({each.name: each})
        self.stream.changed(self.now)
        self.settle()

    def remove(self, type_url: str, name: str) -> None:
        self.snapshot.tables[type_url].update({name: None})
        self.stream.changed(self.now)
        self.settle()

    def settle(self) -> None:
        for _ in range(1000):
            response = self.stream.next_response(self.now)
            if response is None:
                return
            self.answer(response)
        raise AssertionError("no end of responses")

    def answer(self, response: Response) -> None:
        type_url, has = response.type_url, self.has[response.type_url]
        got = self.bodies(response)
        faulty = [name for name, body in got.items() if self.is_bad(type_url, body)]
        error = None
        if faulty:
            self.refusals += 1
            named = f"({type_url}): {', '.join(f'{name}: {self.environment}' for name in faulty)}"
            error = ErrorDetail(13, f"Error adding {named if type_url in NAMED else 'something bad'}")
        if not faulty or type_url in NAMED:
            if self.variant is Variant.STATE_OF_THE_WORLD and type_url in FULL_STATE:
                for name in has.keys() - got.keys():
                    del has[name]
            has.update({name: body for name, body in got.items() if name not in faulty})
            for name in response.removed:
                has.pop(name, None)
        if isinstance(self.stream, DeltaStream):
            self.stream.receive(DeltaDiscoveryRequest(type_url, nonce=response.nonce, error=error))
        else:
            names = self.names.get(type_url, ())
            self.stream.receive(DiscoveryRequest(type_url, names=names, nonce=response.nonce, error=error))

    def ask(self, type_url: str, *, subscribe: tuple[str, ...] = (), unsubscribe: tuple[str, ...] = ()) -> None:
        assert isinstance(self.stream, DeltaStream)
        self.stream.receive(DeltaDiscoveryRequest(type_url, subscribe=subscribe, unsubscribe=unsubscribe))
        self.settle()

    def bodies(self, response: Response) -> dict[str, bytes]:
        frames = b"".join(response.frames)
        if self.variant is Variant.DELTA:
            entries = DeltaDiscoveryResponse.FromString(frames).resources
            return {entry.name: entry.resource.value for entry in entries if entry.HasField("resource")}
        return {read_body(item.value)[0]: item.value for item in DiscoveryResponse.FromString(frames).resources}

    def is_bad(self, type_url: str, body: bytes) -> bool:
        return b"bad" in body or bool(self.environment and type_url == LISTENER)

    def state(self, type_url: str) -> SyncState:
        return self.stream.status()[type_url].state

    def contained(self, type_url: str) -> list[tuple[str, str | None]]:
        contained = self.stream.status()[type_url].contained
        return sorted(((each.resource, each.item) for each in contained), key=str)

    def items(self, type_url: str, name: str) -> dict[str, str]:
        """What the client has of a composed resource."""
        fields = read_fields(self.has[type_url][name])
        return dict(map(read_body, fields.get(_ITEM_FIELD, ())))


ROUTES = {ROUTE_CONFIGURATION: ("R",)}
BOTH = pytest.mark.parametrize("variant", list(Variant))
FAR_FEWER = 2 * 7 + 1
"""Refusals that it takes at most to find one of 100, were the suspects halved each time."""


def hosts(number: int, **others: str) -> dict[str, str]:
    return {f"h{index}": "1" for index in range(number)} | others


# --- One bad item -----------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("type_url", [ROUTE_CONFIGURATION, LISTENER])
def test_a_new_item_at_fault_keeps_no_other_away(variant: Variant, type_url: str) -> None:
    client = Client(variant, type_url, names={ROUTE_CONFIGURATION: ("R",)})
    client.put(composed(type_url, "R", hosts(100, h42="bad")))
    assert client.items(type_url, "R") == {name: "1" for name in hosts(100) if name != "h42"}
    assert client.contained(type_url) == [("R", "h42")]
    assert client.state(type_url) is SyncState.REJECTED
    assert client.refusals <= FAR_FEWER


@BOTH
@pytest.mark.parametrize("type_url", [ROUTE_CONFIGURATION, LISTENER])
def test_an_item_at_fault_stays_as_it_was_accepted_and_others_change_freely(variant: Variant, type_url: str) -> None:
    client = Client(variant, type_url, names={ROUTE_CONFIGURATION: ("R",)})
    client.put(composed(type_url, "R", hosts(9)))
    client.put(composed(type_url, "R", hosts(9, h3="bad", h5="2")))
    assert client.items(type_url, "R") == hosts(9, h5="2")
    refusals = client.refusals

    client.put(composed(type_url, "R", hosts(9, h3="bad", h5="3", h7="2")))
    client.put(composed(type_url, "R", hosts(10, h3="bad", h5="3", h7="2"), frame="2"))
    assert client.items(type_url, "R") == hosts(10, h5="3", h7="2")
    assert client.refusals == refusals, "what is known to be bad is not offered again"

    client.put(composed(type_url, "R", hosts(10, h3="bad too", h5="3"), frame="2"))
    assert client.items(type_url, "R") == hosts(10, h5="3")
    assert client.refusals > refusals, "it has changed, so it was tried"

    client.put(composed(type_url, "R", hosts(10, h3="good", h5="3"), frame="2"))
    assert client.items(type_url, "R") == hosts(10, h3="good", h5="3")
    assert client.contained(type_url) == []
    assert client.state(type_url) is SyncState.SYNCED


@BOTH
def test_what_surrounds_the_items_can_be_at_fault(variant: Variant) -> None:
    client = Client(variant, ROUTE_CONFIGURATION, names=ROUTES)
    client.put(composed(ROUTE_CONFIGURATION, "R", hosts(4)))
    client.put(composed(ROUTE_CONFIGURATION, "R", hosts(4, h1="2", h2="bad"), frame="bad"))
    assert client.items(ROUTE_CONFIGURATION, "R") == hosts(4, h1="2")
    assert client.contained(ROUTE_CONFIGURATION) == [("R", "h2"), ("R", None)]


@BOTH
@pytest.mark.parametrize("before", [{}, {"a": "1"}])
def test_a_listener_is_nothing_without_items(variant: Variant, before: Items) -> None:
    """So what surrounds them cannot be tried without them."""
    client = Client(variant, LISTENER)
    if before:
        client.put(composed(LISTENER, "L", before))
    client.put(composed(LISTENER, "L", {"b": "bad"}, frame="2"))
    assert client.refusals <= 2
    assert client.has[LISTENER] == ({"L": composed(LISTENER, "L", before).body} if before else {})
    assert client.state(LISTENER) is SyncState.REJECTED


@BOTH
def test_what_is_gone_is_not_held_against_anybody(variant: Variant) -> None:
    client = Client(variant, ROUTE_CONFIGURATION, names=ROUTES)
    client.put(composed(ROUTE_CONFIGURATION, "R", hosts(4, h1="bad")))
    client.put(composed(ROUTE_CONFIGURATION, "R", {"h0": "1"}))
    assert client.items(ROUTE_CONFIGURATION, "R") == {"h0": "1"}
    assert client.state(ROUTE_CONFIGURATION) is SyncState.SYNCED


# --- One bad resource -------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("type_url", [CLUSTER_LOAD_ASSIGNMENT, SECRET])
def test_one_bad_resource_of_a_type_whose_refusals_name_none(variant: Variant, type_url: str) -> None:
    names = tuple(f"r{index}" for index in range(100))
    client = Client(variant, type_url, names={type_url: names})
    client.put(*(resource(type_url, name, "1") for name in names))
    client.put(*(resource(type_url, name, "bad" if name == "r7" else "2") for name in names))
    expected = {name: resource(type_url, name, "1" if name == "r7" else "2").body for name in names}
    assert client.has[type_url] == expected
    assert client.contained(type_url) == [("r7", None)]
    assert client.refusals <= FAR_FEWER


def test_one_bad_virtual_host() -> None:
    """As most proxies get them: as resources of their own, named by nobody."""
    client = Client(Variant.DELTA, VIRTUAL_HOST)
    client.put(*(resource(VIRTUAL_HOST, f"R/h{index}", "bad" if index == 7 else "1") for index in range(100)))
    assert client.has[VIRTUAL_HOST].keys() == {f"R/h{index}" for index in range(100) if index != 7}
    assert client.contained(VIRTUAL_HOST) == [("R/h7", None)]

    client.connect()
    assert client.has[VIRTUAL_HOST].keys() == {f"R/h{index}" for index in range(100) if index != 7}
    assert client.contained(VIRTUAL_HOST) == [("R/h7", None)]


@BOTH
def test_clusters_at_fault_are_named_and_the_others_are_taken_in(variant: Variant) -> None:
    client = Client(variant, CLUSTER)
    client.put(resource(CLUSTER, "a", "1"), resource(CLUSTER, "ab", "1"))
    client.put(resource(CLUSTER, "a", "bad"), resource(CLUSTER, "ab", "2"), resource(CLUSTER, "b", "1"))
    assert client.has[CLUSTER] == {
        name: resource(CLUSTER, name, content).body for name, content in (("a", "1"), ("ab", "2"), ("b", "1"))
    }
    assert client.contained(CLUSTER) == [("a", None)]
    client.put(resource(CLUSTER, "c", "1"))
    assert client.refusals == 1, "also of the full state, which has the last good one in it"
    assert client.has[CLUSTER]["a"] == resource(CLUSTER, "a", "1").body


@BOTH
@pytest.mark.parametrize("content", ["1", "2"])
def test_what_the_fault_of_another_mentions_is_not_at_fault(variant: Variant, content: str) -> None:
    client = Client(variant, CLUSTER)
    client.put(resource(CLUSTER, "a", "1"), resource(CLUSTER, "b", "1"))
    client.environment = "unknown cluster 'b'"
    client.put(resource(CLUSTER, "a", "bad"), resource(CLUSTER, "b", content))
    client.put(resource(CLUSTER, "c", "1"))
    assert client.has[CLUSTER] == {
        name: resource(CLUSTER, name, content).body for name, content in (("a", "1"), ("b", content), ("c", "1"))
    }
    assert client.contained(CLUSTER) == [("a", None)]


@BOTH
def test_a_route_configuration_that_was_never_accepted_is_told_to_be_empty(variant: Variant) -> None:
    """A listener that waits for it would not open otherwise."""
    client = Client(variant, ROUTE_CONFIGURATION, names=ROUTES)
    client.put(resource(ROUTE_CONFIGURATION, "R", "bad"))
    assert client.has[ROUTE_CONFIGURATION] == {"R": resource(ROUTE_CONFIGURATION, "R", "empty").body}
    client.put(resource(ROUTE_CONFIGURATION, "R", "good"))
    assert client.has[ROUTE_CONFIGURATION] == {"R": resource(ROUTE_CONFIGURATION, "R", "good").body}


# --- Clients that cannot be satisfied ---------------------------------------------------------------------------------


@BOTH
def test_a_port_that_is_taken_is_nobodys_fault(variant: Variant) -> None:
    client = Client(variant, LISTENER)
    client.environment = "cannot bind '0.0.0.0:80': Address already in use"
    client.put(composed(LISTENER, "L", hosts(50)))
    assert client.refusals == 1
    assert client.contained(LISTENER) == [("L", None)]
    for seconds, refusals in ((1.9, 1), (0.1, 2), (3.9, 2), (0.1, 3), (1000, 4), (15, 4), (1.1, 5)):
        client.now += seconds
        client.settle()
        assert client.refusals == refusals, "it is tried again, less and less often"
        assert client.state(LISTENER) is SyncState.REJECTED

    client.environment = ""
    wake_at = client.stream.wake_at
    assert wake_at is not None
    client.now = wake_at
    client.settle()
    assert client.items(LISTENER, "L") == hosts(50)
    assert client.stream.wake_at is None


@BOTH
def test_a_client_that_refuses_everything_is_left_alone_soon(variant: Variant) -> None:
    names = tuple(f"r{index}" for index in range(2000))
    client = Client(variant, SECRET, names={SECRET: names})
    client.put(*(resource(SECRET, name, "bad") for name in names))
    assert client.refusals <= MOST_REFUSALS + 11, "the groups that are left are tried once each"
    assert len(client.contained(SECRET)) == len(names)


@BOTH
@pytest.mark.parametrize("type_url", [ROUTE_CONFIGURATION, LISTENER])
def test_a_client_that_refuses_all_items_is_left_alone_soon(variant: Variant, type_url: str) -> None:
    client = Client(variant, type_url, names={ROUTE_CONFIGURATION: ("R",)})
    bad = composed(type_url, "R", dict.fromkeys(hosts(500), "bad"))
    client.put(bad)
    assert client.refusals <= MOST_REFUSALS + 9, "the groups that are left are tried once each"
    assert len(client.contained(type_url)) == 500
    client.stream.events()
    assert len(bad._variants) <= 1, "what was tried is not kept"


# --- The client changes its mind meanwhile ----------------------------------------------------------------------------


def test_what_is_refused_after_it_is_not_wanted_any_more_holds_nobody_up() -> None:
    client = Client(Variant.DELTA, SECRET)
    client.snapshot.tables[SECRET].update(
        {name: resource(SECRET, name, content) for name, content in (("a", "bad"), ("b", "1"))}
    )
    client.stream.receive(DeltaDiscoveryRequest(SECRET, subscribe=("a", "b")))
    response = client.stream.next_response(client.now)
    assert response is not None
    client.stream.receive(DeltaDiscoveryRequest(SECRET, unsubscribe=("a",)))
    client.answer(response)
    client.settle()
    assert client.has[SECRET].keys() == {"b"}
    assert client.contained(SECRET) == []
    assert client.state(SECRET) is SyncState.SYNCED


@BOTH
def test_a_client_that_waits_is_told_when_what_it_refused_is_gone(variant: Variant) -> None:
    client = Client(variant, ROUTE_CONFIGURATION)
    table = client.snapshot.tables[ROUTE_CONFIGURATION]
    table.update({"R": resource(ROUTE_CONFIGURATION, "R", "bad")})
    client.names = ROUTES
    client.connect_without_answers()
    response = client.stream.next_response(client.now)
    assert response is not None
    table.update({"R": resource(ROUTE_CONFIGURATION, "R", "1")})
    client.stream.changed(client.now)
    client.answer(response)
    table.update({"R": None})
    client.stream.changed(client.now)
    client.settle()
    assert client.has[ROUTE_CONFIGURATION] == {"R": resource(ROUTE_CONFIGURATION, "R", "empty").body}


@pytest.mark.parametrize("reason", ["it is as it was", "it is not wanted"])
def test_who_waits_is_tried_although_there_is_nobody_on_trial_any_more(reason: str) -> None:
    client = Client(Variant.DELTA, SECRET)
    client.ask(SECRET, subscribe=("a", "b", "c"))
    client.put(*(resource(SECRET, name, "1") for name in "abc"))
    changed = [resource(SECRET, name, content) for name, content in (("a", "2"), ("b", "2"), ("c", "bad"))]
    client.snapshot.tables[SECRET].update({each.name: each for each in changed})
    client.stream.changed(client.now)
    response = client.stream.next_response(client.now)
    assert response is not None
    client.answer(response)  # it is refused, and `a` is on trial
    if reason == "it is as it was":
        client.put(resource(SECRET, "a", "1"))
    else:
        client.ask(SECRET, unsubscribe=("a",))
    assert client.has[SECRET]["b"] == resource(SECRET, "b", "2").body
    assert client.contained(SECRET) == [("c", None)]


def test_a_client_that_comes_back_with_something_unknown_keeps_it() -> None:
    """In the state of the world it does not say what it holds, so nothing can stand for what it refuses."""
    client = Client(Variant.STATE_OF_THE_WORLD, ROUTE_CONFIGURATION, CLUSTER, names=ROUTES)
    client.put(composed(ROUTE_CONFIGURATION, "R", hosts(3)), resource(CLUSTER, "a", "1"))
    client.put(composed(ROUTE_CONFIGURATION, "R", hosts(3, h1="bad")), resource(CLUSTER, "a", "bad"))
    client.connect(returning=True)
    client.put(resource(CLUSTER, "b", "1"))
    assert client.items(ROUTE_CONFIGURATION, "R") == hosts(3)
    assert client.has[CLUSTER].keys() == {"a", "b"}
    assert client.state(ROUTE_CONFIGURATION) is SyncState.REJECTED


# --- What is retained -------------------------------------------------------------------------------------------------


@BOTH
def test_what_retained_routes_refer_to_is_retained_with_them(variant: Variant) -> None:
    client = Client(variant, CLUSTER, ROUTE_CONFIGURATION, names=ROUTES)
    client.put(*(resource(CLUSTER, name, "1") for name in ("old", "other", "new")))
    client.put(composed(ROUTE_CONFIGURATION, "R", {"h": "to old", "i": "to other"}))
    client.put(composed(ROUTE_CONFIGURATION, "R", {"h": "bad to new", "i": "to new"}))
    client.remove(CLUSTER, "old")
    client.remove(CLUSTER, "other")
    client.now += 100
    client.settle()
    assert client.items(ROUTE_CONFIGURATION, "R") == {"h": "to old", "i": "to new"}
    assert client.has[CLUSTER].keys() == {"old", "new"}
    assert client.stream.wake_at is None, "nothing is waited for but a change"

    client.put(composed(ROUTE_CONFIGURATION, "R", {"h": "to new", "i": "to new"}))
    assert client.has[CLUSTER].keys() == {"new"}


# --- Any faults at all ------------------------------------------------------------------------------------------------

contents = st.sampled_from(["1", "2", "3", "bad 1", "bad 2"])
tables = st.dictionaries(st.sampled_from([f"h{index}" for index in range(12)]), contents)


@settings(max_examples=300, deadline=None)
@given(steps=st.lists(tables, min_size=1, max_size=5), variant=st.sampled_from(list(Variant)))
def test_in_the_end_a_client_has_of_each_item_the_newest_that_is_good(steps: list[Items], variant: Variant) -> None:
    client = Client(variant, ROUTE_CONFIGURATION, names=ROUTES)
    wanted: dict[str, str] = {}
    for items in steps:
        client.put(composed(ROUTE_CONFIGURATION, "R", items))
        last = {name: content for name, content in wanted.items() if name in items}
        wanted = last | {name: content for name, content in items.items() if "bad" not in content}
        assert client.items(ROUTE_CONFIGURATION, "R") == wanted
        bad = [("R", name) for name, content in sorted(items.items()) if "bad" in content]
        assert client.contained(ROUTE_CONFIGURATION) == bad
        assert (client.state(ROUTE_CONFIGURATION) is SyncState.REJECTED) == bool(bad)
