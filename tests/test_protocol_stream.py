"""What a stream tells of itself, and what it refuses."""

import gc
import weakref

import pytest
from fairlead.errors import ProtocolError
from fairlead.protocol.containment import Contained
from fairlead.protocol.delta import DeltaStream
from fairlead.protocol.events import Acknowledged, FaultsFound, Rejected, Subscribed, SyncState
from fairlead.protocol.ledger import MANY_CHANGES, REMOVAL_PATIENCE
from fairlead.protocol.rules import REMOVAL_WAITS_FOR
from fairlead.protocol.sotw import StateOfTheWorldStream
from fairlead.snapshot import types
from fairlead.snapshot.messages import DeltaDiscoveryRequest, DiscoveryRequest, ErrorDetail, Node
from fairlead.snapshot.table import Snapshot, Table, Variant
from support.xds_script import TYPES, Script, resource

CDS, LDS, RDS = types.CLUSTER, types.LISTENER, types.ROUTE_CONFIGURATION
ERROR = ErrorDetail(13, "refused")
A, B = resource(CDS, "A", "1"), resource(CDS, "B", "1")


def _snapshot() -> Snapshot:
    return Snapshot("all", [Table(CDS, [A, B])])


def test_nothing_is_answered_before_there_is_something_to_offer() -> None:
    stream = DeltaStream()
    stream.receive(DeltaDiscoveryRequest(CDS, node=Node("proxy")))
    stream.receive(DeltaDiscoveryRequest(LDS, subscribe=("L",)))
    assert stream.node == Node("proxy")
    assert stream.next_response(now=0) is None
    assert not stream.changed(now=0)

    stream.offer(_snapshot(), now=1)
    first, second = stream.next_response(now=1), stream.next_response(now=1)
    assert first is not None
    assert first.type_url == CDS
    assert second is not None
    assert (second.type_url, second.removed) == (LDS, ("L",))


def test_requests_before_there_is_something_to_offer_count_together() -> None:
    stream = DeltaStream()
    versions = {"A": A.version, "B": B.version}
    stream.receive(DeltaDiscoveryRequest(CDS, subscribe=("A", "B"), initial_versions=versions))
    stream.receive(DeltaDiscoveryRequest(CDS, subscribe=("A", "Z"), unsubscribe=("B",)))
    stream.offer(_snapshot(), now=0)
    response = stream.next_response(now=0)
    assert response is not None
    assert response.frames == (A.delta_frame,), "asked for again, so it is sent whatever the client held before"
    assert response.removed == ("Z",)


def test_a_move_to_another_group_counts_what_has_changed_unnoted_in_the_first() -> None:
    stream = DeltaStream()
    first, second = _snapshot(), Snapshot("other", [Table(CDS, [resource(CDS, "A", "2"), B])])
    stream.offer(first, now=0)
    stream.receive(DeltaDiscoveryRequest(CDS))
    response = stream.next_response(now=0)
    assert response is not None
    stream.receive(DeltaDiscoveryRequest(CDS, nonce=response.nonce))

    first.tables[CDS].update({"A": resource(CDS, "A", "2")})
    stream.offer(second, now=0)
    response = stream.next_response(now=0)
    assert response is not None
    assert response.frames == (resource(CDS, "A", "2").delta_frame,)


def test_a_client_keeps_its_first_identity() -> None:
    stream = StateOfTheWorldStream()
    stream.receive(DiscoveryRequest(CDS))
    assert stream.node is None
    for node in (Node("first"), Node("second"), None):
        stream.receive(DiscoveryRequest(CDS, node=node))
    assert stream.node == Node("first")


def test_an_aggregated_stream_needs_the_type() -> None:
    with pytest.raises(ProtocolError, match="type_url"):
        DeltaStream().receive(DeltaDiscoveryRequest(""))


def test_a_stream_of_one_type_implies_it_and_refuses_others() -> None:
    stream = StateOfTheWorldStream(CDS)
    stream.offer(_snapshot(), now=0)
    stream.receive(DiscoveryRequest(""))
    response = stream.next_response(now=0)
    assert response is not None
    assert response.type_url == CDS
    stream.receive(DiscoveryRequest(CDS, nonce=response.nonce))
    assert stream.next_response(now=0) is None
    with pytest.raises(ProtocolError, match="Listener"):
        stream.receive(DiscoveryRequest(LDS))


def test_events_of_a_state_of_the_world_stream() -> None:
    stream = StateOfTheWorldStream()
    stream.offer(_snapshot(), now=0)
    stream.receive(DiscoveryRequest(CDS, names=("B", "A", "Z")))
    assert stream.events() == [Subscribed(CDS, frozenset("ABZ"), frozenset(), wildcard=False)]
    response = stream.next_response(now=0)
    assert response is not None
    stream.receive(DiscoveryRequest(CDS, names=("A",), nonce=response.nonce))
    assert stream.events() == [
        Acknowledged(CDS, response.nonce, response.version, (A, B), ()),
        Subscribed(CDS, frozenset(), frozenset("BZ"), wildcard=False),
    ]
    stream.receive(DiscoveryRequest(CDS, names=("A",), nonce=response.nonce))
    stream.receive(DiscoveryRequest(CDS, names=("A",), nonce="stale", error=ERROR))
    assert stream.events() == []


def test_events_of_an_incremental_stream() -> None:
    stream = DeltaStream()
    stream.offer(_snapshot(), now=0)
    stream.receive(DeltaDiscoveryRequest(CDS, initial_versions={"A": A.version, "Z": "old"}))
    assert stream.events() == [Subscribed(CDS, frozenset(), frozenset(), wildcard=True)]
    response = stream.next_response(now=0)
    assert response is not None
    stream.receive(DeltaDiscoveryRequest(CDS, nonce="stale", error=ERROR))
    stream.receive(DeltaDiscoveryRequest(CDS, nonce=response.nonce, error=ERROR))
    stream.receive(DeltaDiscoveryRequest(CDS, nonce=response.nonce, error=ERROR))
    assert stream.events() == [
        Rejected(CDS, response.nonce, response.version, (B,), ("Z",), ERROR),
        FaultsFound(CDS, (Contained("B", None, (), ERROR),)),
    ]
    assert stream.events() == []


def test_status_follows_the_client() -> None:
    script = Script(Variant.DELTA)
    states = []

    def note() -> None:
        script.drain()
        states.append(script.stream.status()[CDS].state)

    for action in ("ask cds", "ack cds", "have cds A=1", "nack cds", "have cds A=2", "ack cds"):
        script.do(action)
        note()
    assert states == [
        SyncState.STALE,
        SyncState.SYNCED,
        SyncState.STALE,
        SyncState.REJECTED,
        SyncState.STALE,
        SyncState.SYNCED,
    ]


def test_a_client_that_returns_holding_everything_is_in_sync() -> None:
    script = Script(Variant.DELTA)
    script.run("have eds A=1 B=1")
    for held, state in (("A:1", SyncState.SYNCED), ("A:2", SyncState.NOT_SENT), ("", SyncState.NOT_SENT)):
        script.connect()
        script.do(f"ask eds +A {held}")
        assert script.stream.status()[types.CLUSTER_LOAD_ASSIGNMENT].state is state


def test_status_names_error_and_last_acknowledged_version() -> None:
    script = Script(Variant.STATE_OF_THE_WORLD)
    script.run(
        """
        have cds A=1
        ask cds A     -> cds A=1
        """
    )
    version = script.newest[CDS].version
    script.do("ack cds")
    script.run("have cds A=2 -> cds A=2")
    script.do("nack cds")
    script.do("ask eds")
    status = script.stream.status()
    assert (status[CDS].version, status[CDS].names, status[CDS].wildcard) == (version, frozenset("A"), False)
    assert status[CDS].error is not None
    assert status[types.CLUSTER_LOAD_ASSIGNMENT].state is SyncState.NOT_SENT


def test_changed_says_whether_there_may_be_a_response() -> None:
    script = Script(Variant.DELTA)
    script.run(
        """
        have lds A=1; rds R=1
        ask lds +A    -> lds A=1
        """
    )

    def change(text: str) -> bool:
        script.have(script.snapshot, text)
        return script.stream.changed(script.now)

    assert not change("lds A=2"), "the client has not answered yet"
    script.do("ack lds")
    script.drain()
    script.do("ack lds")
    assert not change("lds B=1; rds R=2"), "of no interest to the client"
    assert change("lds A=3")


def test_very_many_changes_are_put_off_until_they_are_sent() -> None:
    names = [f"cluster-{number}" for number in range(MANY_CHANGES + 1)]
    table = Table(CDS)
    stream = DeltaStream()
    stream.offer(Snapshot("all", [table]), now=0)
    stream.receive(DeltaDiscoveryRequest(CDS, subscribe=(names[0],)))
    assert stream.next_response(now=0) is not None
    table.update({name: resource(CDS, name, "1") for name in names})
    assert not stream.changed(now=0), "the client has not answered yet"
    stream.receive(DeltaDiscoveryRequest(CDS, nonce="1"))
    response = stream.next_response(now=0)
    assert response is not None
    assert len(response.frames) == 1
    stream.receive(DeltaDiscoveryRequest(CDS, nonce=response.nonce))
    table.update({**dict.fromkeys(names[1:]), "another": resource(CDS, "another", "1")})
    assert stream.changed(now=0), "whether they concern the client is seen later"
    assert stream.next_response(now=0) is None


def test_a_client_that_does_not_answer_holds_on_to_no_history() -> None:
    table = Table(CDS)
    stream = DeltaStream()
    stream.offer(Snapshot("all", [table]), now=0)
    stream.receive(DeltaDiscoveryRequest(CDS))
    assert stream.next_response(now=0) is not None
    traces = []
    for content in range(5):
        clusters = {str(number): resource(CDS, str(number), str(content)) for number in range(MANY_CHANGES + 1)}
        traces.append(weakref.ref(clusters["0"]))
        table.update(clusters)
        stream.changed(now=0)
        del clusters
    gc.collect()
    assert [trace() is not None for trace in traces] == [False, False, False, True, True]


def test_wake_at_is_when_the_next_removal_is_due() -> None:
    script = Script(Variant.DELTA)
    script.run(
        """
        have cds A=1 B=1; rds R=A
        ask cds         -> cds A=1 B=1
        ask rds +R      -> rds R=A
        ack cds
        ack rds
        """
    )
    assert script.stream.wake_at is None
    script.run("have cds A=-; rds R=B -> rds R=B")
    first = script.now + REMOVAL_PATIENCE
    assert script.stream.wake_at == first
    script.run(
        """
        wait 5
        have cds B=-
        """
    )
    assert script.stream.wake_at == first
    script.run("wait 10 -> cds -A")
    assert script.stream.wake_at is None, "nothing can be sent before the client has answered"
    script.run("ack cds")
    assert script.stream.wake_at == first + 5
    script.run("ack rds -> cds -B")
    assert script.stream.wake_at is None


def test_versions_are_those_of_the_content_whatever_its_history() -> None:
    first, second = Script(Variant.STATE_OF_THE_WORLD), Script(Variant.STATE_OF_THE_WORLD)
    first.run("have cds A=1 B=1")
    second.run("have cds C=1 B=2")
    second.run("have cds B=1 A=1 C=-")
    versions = set()
    for script in (first, second):
        script.do("ask cds")
        (response,) = script.drain()
        versions.add((response.version, response.resources))
    assert len(versions) == 1


def test_a_version_tells_kept_resources_apart() -> None:
    script = Script(Variant.STATE_OF_THE_WORLD)
    script.run(
        """
        have cds A=1 B=1; rds R=A
        ask cds         -> cds A=1 B=1
        ask rds R       -> rds R=A
        ack cds
        ack rds
        """
    )
    before = script.newest[CDS].version
    script.run("have cds A=- C=1; rds R=B -> cds B=1 C=1 A=1 | rds R=B")
    kept = script.newest[CDS].version
    script.run("ack cds")
    script.run("ack rds -> cds B=1 C=1")
    assert len({before, kept, script.newest[CDS].version}) == 3
    assert script.newest[CDS].version == script.snapshot.tables[CDS].version


def test_removals_wait_in_no_circle() -> None:
    waiting = dict(REMOVAL_WAITS_FOR)
    while waiting:
        free = [type_url for type_url, referrers in waiting.items() if not any(item in waiting for item in referrers)]
        assert free, f"a circle: {waiting}"
        for type_url in free:
            del waiting[type_url]


def test_the_language_of_scenarios_notices_a_response_too_many() -> None:
    script = Script(Variant.DELTA)
    assert TYPES["cds"] == CDS
    with pytest.raises(AssertionError, match="line 1"):
        script.run("ask cds")


def test_what_a_client_holds_is_known_although_its_removal_was_put_off() -> None:
    """It came with another version than the table's, which then lost the name, and now has that version after all."""
    stream = DeltaStream()
    first = Snapshot("first", [Table(RDS, [resource(RDS, "R", "1")])])
    second = Snapshot("second", [Table(RDS, [resource(RDS, "R", "2")])])
    stream.offer(first, now=0)
    claims = {"R": resource(RDS, "R", "2").version}
    stream.receive(DeltaDiscoveryRequest(RDS, subscribe=("R",), initial_versions=claims))
    first.tables[RDS].update({"R": None})
    stream.receive(DeltaDiscoveryRequest(CDS))
    assert stream.next_response(now=0) is not None, "of clusters, which frees the removal"
    stream.offer(second, now=0)
    assert stream.next_response(now=0) is None


def test_a_client_that_never_asks_for_endpoints_costs_no_more_the_longer_it_stays() -> None:
    stream, table = DeltaStream(), Table(CDS)
    stream.offer(Snapshot("all", [table]), now=0)
    stream.receive(DeltaDiscoveryRequest(CDS))
    for number in range(20):
        table.update({str(number): resource(CDS, str(number), "1"), str(number - 1): None})
        response = stream.next_response(now=0)
        assert response is not None
        stream.receive(DeltaDiscoveryRequest(CDS, nonce=response.nonce))
    assert len(stream._warming) == 1
