"""What servers and clients of xDS are tested for elsewhere, scenario by scenario, and the test here that shows each.

Collected from the suites of go-control-plane, java-control-plane, istiod, Diderot, xds-test-harness and of gRPC's own
client, and from what Envoy 1.40 and gRPC were seen to do. Each scenario is either played below, in the language of
`support.xds_script`, or names the tests that show it.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from fairlead.protocol.delta import DeltaStream
from fairlead.protocol.sotw import StateOfTheWorldStream
from fairlead.snapshot import types
from fairlead.snapshot.messages import DeltaDiscoveryRequest, DiscoveryRequest, ErrorDetail
from fairlead.snapshot.table import Snapshot, Table, Variant
from support.xds_script import Script, read, resource

STATE, DELTA = Variant.STATE_OF_THE_WORLD, Variant.DELTA
ERROR = ErrorDetail(13, "refused")
CDS, EDS = types.CLUSTER, types.CLUSTER_LOAD_ASSIGNMENT


@dataclass(frozen=True)
class Named:
    """A test elsewhere: file below `tests`, function, and scenario if it is one of a table."""

    file: str
    function: str
    scenario: str = ""


@dataclass(frozen=True)
class Played:
    """A conversation in the language of `support.xds_script`."""

    variant: Variant
    script: str


def sotw(scenario: str) -> Named:
    return Named("test_protocol_sotw.py", "test_scenario", scenario)


def delta(scenario: str) -> Named:
    return Named("test_protocol_delta.py", "test_scenario", scenario)


def order(variant: Variant, scenario: str) -> Named:
    return Named("test_protocol_order.py", "test_delta" if variant is DELTA else "test_state_of_the_world", scenario)


def stream(function: str) -> Named:
    return Named("test_protocol_stream.py", f"test_{function}")


def ads(function: str) -> Named:
    return Named("test_ads.py", f"test_{function}")


def here(function: str) -> Named:
    return Named("test_xds_scenarios.py", f"test_{function}")


def server(function: str) -> Named:
    return Named("test_xds_scenarios_server.py", f"test_{function}")


def proxyless(function: str) -> Named:
    return Named("test_proxyless_grpc.py", f"test_{function}")


ALL_ONCE = sotw("wildcard: all, once, then silence")
FULL_STATE = sotw("by name, full state: all that is subscribed to, on each change of it")
UNKNOWN = sotw("an unknown name is told, once, and sent when it comes into being")
ADDED = sotw("a name that is added is sent, although no version has changed")
REFUSED = sotw("refused: silence until the content changes")
ALL_THEN_CHANGES = delta("wildcard: all, then only what changes")
UNKNOWN_DELTA = delta("unknown names are answered, and sent when they come into being")
UNSUBSCRIBED = delta("unsubscribed names are silent, and forgotten")
SOAK = Named("test_soak.py", "test_all_end_up_with_the_last_state")
CONVERGENCE = Named("test_convergence.py", "test_all_proxies_end_up_with_what_a_fresh_one_gets")
RETURNS = delta("a client that returns: what has changed, what is new, what is gone")

SCENARIOS: dict[int, tuple[str, tuple[Named | Played, ...]]] = {
    # --- State of the world ---
    1: ("no names: everything, in one response with version and nonce", (ALL_ONCE,)),
    2: ("an acknowledgement is met with silence", (ALL_ONCE,)),
    3: ("one resource changes: the full state, a new version, then silence", (ALL_ONCE,)),
    4: ("one resource more", (ALL_ONCE,)),
    5: ("one resource less", (ALL_ONCE,)),
    6: ("all are removed: one response without resources, and only then", (ALL_ONCE,)),
    7: ("listeners by name: those", (FULL_STATE,)),
    8: ("one of them changes: both", (FULL_STATE,)),
    9: ("one of two routes changes: that one", (sotw("by name, other types: what has changed"),)),
    10: ("a name that does not exist beside one that does", (UNKNOWN,)),
    11: ("and comes into being", (UNKNOWN,)),
    12: ("one name more, at the same version", (ADDED,)),
    13: ("and a change of that one", (ADDED,)),
    14: ("fewer names, and a change of one that is left", (sotw("unsubscribed names are silent"),)),
    15: ("and of one that is not", (sotw("unsubscribed names are silent"),)),
    16: (
        "names, and then none: nothing more of that type",
        (sotw("names, then none: unsubscribed from all, not a wildcard"),),
    ),
    17: (
        "routes of an Envoy that has lost its last listener",
        (
            Played(
                STATE,
                """
                have lds L=1; rds R=1
                ask lds                     -> lds L=1
                ask rds R                   -> rds R=1
                ack lds
                ack rds
                have lds L=-                -> lds (empty)
                ask rds
                ack lds
                have rds R=2
                """,
            ),
        ),
    ),
    18: ("one name, another, both, the first", (sotw("each change of the list brings what is new"),)),
    19: ("the wildcard by name", (sotw("wildcard by name"),)),
    20: (
        "the wildcard, with a name, the name only, nothing",
        (sotw("wildcard, and a name, and the name only, and nothing"),),
    ),
    21: ("the empty name never means everything", (sotw("the empty name is neither a wildcard nor a resource"),)),
    22: (
        "a refusal is met with silence, and kept",
        (REFUSED, stream("status_names_error_and_last_acknowledged_version")),
    ),
    23: ("and what is mended is sent", (REFUSED,)),
    24: (
        "a refusal of the first response has no version",
        (here("a_refusal_is_told_by_its_error_whatever_its_version"),),
    ),
    25: (
        "a refusal whose version is the one that was sent",
        (
            here("a_refusal_is_told_by_its_error_whatever_its_version"),
            Played(
                STATE,
                """
                have eds A=1 B=1
                ask eds A                   -> eds A=1
                ack eds
                ask eds A B                 -> eds B=1
                nack eds                    -> eds B=empty
                ack eds
                have eds B=2                -> eds B=2
                ack eds
                """,
            ),
        ),
    ),
    26: ("a refusal with one name more", (sotw("a refusal takes over names"),)),
    27: ("a nonce that is not the newest", (sotw("a stale request changes nothing"),)),
    28: (
        "two requests before the first response has been seen",
        (
            here("requests_before_the_first_response"),
            Played(
                STATE,
                """
                have eds A=1 B=1
                ask eds A                   -> eds A=1
                nonceless eds A B
                ack eds A B                 -> eds B=1
                ack eds A B
                """,
            ),
        ),
    ),
    29: (
        "a new stream that begins with version and nonce of an old one",
        (sotw("a new stream: the nonce and version of the old one mean nothing"),),
    ),
    30: ("or with the present version", (here("a_new_stream_is_answered_whatever_version_it_names"),)),
    31: (
        "endpoints, clusters, endpoints again",
        (order(STATE, "after a reconnect, endpoints first: sent again when the clusters have come"),),
    ),
    32: (
        "a cluster changes, its endpoints do not, and its acknowledgement waits for them",
        (
            order(STATE, "endpoints follow a changed cluster, unchanged, without its acknowledgement"),
            order(STATE, "a client that asks for endpoints again when a cluster warms"),
        ),
    ),
    33: (
        "all types change at once",
        (order(STATE, "types go out in order, whatever order they were asked for in"),),
    ),
    34: ("names that are dropped before they are sent", (sotw("names that were dropped before they were sent"),)),
    35: (
        "a request without a type",
        (
            server("a_request_without_a_type_ends_an_aggregated_stream"),
            server("streams_of_one_type_imply_it_and_refuse_others"),
        ),
    ),
    36: ("a second request without a node", (server("only_the_first_request_needs_a_node"),)),
    37: (
        "a node that nothing is meant for, or that comes too early",
        (
            server("a_proxy_that_nothing_is_meant_for_waits_for_what_comes"),
            stream("nothing_is_answered_before_there_is_something_to_offer"),
            ads("nothing_is_listened_on_before_all_has_been_read"),
        ),
    ),
    38: ("a refusal of one type, a change of another", (sotw("a refusal of one type leaves the others alone"),)),
    39: (
        "a type that nobody knows",
        (
            sotw("an unknown type is met with silence and harms nothing"),
            delta("an unknown type is met with silence and harms nothing"),
        ),
    ),
    40: ("the server stops", (ads("streams_are_told_when_the_server_stops"), ads("sigterm_drains_and_ends"))),
    41: (
        "the client cancels",
        (ads("clients_that_vanish_at_any_moment"), server("nothing_is_left_of_streams_that_were_cut")),
    ),
    42: (
        "a response cannot be sent",
        (
            ads("a_stream_whose_client_is_gone_while_we_write"),
            ads("a_fault_of_ours_in_a_stream_ends_that_stream"),
        ),
    ),
    43: ("two streams of one node, of which one ends", (ads("streams_with_one_node_id"),)),
    44: ("nothing that is sent has a time to live, which would ask for heartbeats", (server("nothing_sent_expires"),)),
    45: (
        "the same configuration made anew",
        (
            ALL_ONCE,
            stream("versions_are_those_of_the_content_whatever_its_history"),
            Named("e2e/test_robustness.py", "test_files_that_move_about_send_nothing"),
        ),
    ),
    46: ("endpoints by names of which one does not exist", (UNKNOWN,)),
    # --- Delta ---
    47: ("no names: everything, each with name and version", (ALL_THEN_CHANGES, here("delta_resources_have_versions"))),
    48: ("one name, then another", (delta("by name: that one only, and each one that is added"),)),
    49: ("one resource changes: that one", (ALL_THEN_CHANGES,)),
    50: ("a name that does not exist beside one that does", (UNKNOWN_DELTA,)),
    51: ("and comes into being", (UNKNOWN_DELTA,)),
    52: ("one resource less", (ALL_THEN_CHANGES,)),
    53: ("and there again", (ALL_THEN_CHANGES,)),
    54: ("a name is dropped, and its resource changes", (UNSUBSCRIBED,)),
    55: ("the last name is dropped: that makes no wildcard", (UNSUBSCRIBED,)),
    56: ("a dropped name is asked for again", (UNSUBSCRIBED,)),
    57: ("a name is asked for twice", (delta("a name subscribed to again is sent again"),)),
    58: ("a name is dropped that was never asked for", (delta("unsubscribing from what was never subscribed to"),)),
    59: (
        "a name beside the implicit wildcard",
        (delta("the implicit wildcard stays when a name is subscribed to"),),
    ),
    60: ("the name beside the wildcard is dropped", (delta("wildcard and name: what remains of a name is told"),)),
    61: ("the wildcard is dropped, and asked for again", (delta("wildcard by name, dropped, and again"),)),
    62: (
        "no names, of a type that has no wildcard; virtual hosts",
        (
            delta("of other types, no names are none"),
            delta("virtual hosts come unasked, after the first request"),
            delta("a route configuration without virtual hosts is told so"),
        ),
    ),
    63: ("a client that returns and has everything", (delta("nothing new for a client that returns"),)),
    64: ("what has changed meanwhile", (RETURNS,)),
    65: ("what came and went meanwhile", (RETURNS,)),
    66: (
        "a client that returns, by name",
        (delta("a client that returns, by name: what it holds is no subscription"),),
    ),
    67: (
        "endpoints first, then clusters with what is held of them",
        (order(DELTA, "after a reconnect, endpoints first: sent again for clusters that have changed"),),
    ),
    68: (
        "a cluster changes, and nobody asks for its endpoints",
        (order(DELTA, "endpoints follow a changed cluster, unasked, without its acknowledgement"),),
    ),
    69: ("a service loses its endpoints", (delta("the endpoints of a service vanish: empty, not removed"),)),
    70: ("a refusal", (delta("refused: silence until the content changes"),)),
    71: ("a refusal that asks for a name", (delta("a refusal takes over names"),)),
    72: (
        "a name with an old nonce",
        (delta("names in a stale request are honoured, and it acknowledges nothing"),),
    ),
    73: ("two types on one stream", (delta("each type on its own"),)),
    74: (
        "more than one message takes",
        (
            Named("test_protocol_delta.py", "test_responses_are_split_by_size_and_each_part_is_of_the_newest_state"),
            server("a_client_with_common_limits_gets_ten_thousand_large_resources"),
        ),
    ),
    75: (
        "one resource of more than a message takes",
        (Named("test_protocol_delta.py", "test_a_resource_above_the_size_of_a_response_is_sent_alone"),),
    ),
    76: (
        "names with a pattern are names: nobody is told that they stand for others",
        (
            Played(
                DELTA,
                """
                have eds x/1=1 y/1=1
                ask eds +x/*                -> eds x/*=empty
                ack eds
                have eds x/1=2 x/2=1
                """,
            ),
        ),
    ),
    77: (
        "a pattern and a name that fits it",
        (
            Played(
                DELTA,
                """
                have cds x/1=1 y/1=1
                ask cds +x/* +x/1           -> cds x/1=1 -x/* !x/*
                ack cds
                have cds x/1=2              -> cds x/1=2
                """,
            ),
        ),
    ),
    78: ("all types change again and again while requests come in", (server("changes_of_all_types_cross_requests"),)),
    79: ("many writers, many streams", (CONVERGENCE, SOAK)),
    80: ("clusters on demand", (delta("on demand beside the wildcard"),)),
    81: ("virtual hosts on demand", (delta("virtual hosts on demand"),)),
    # --- gRPC's own client ---
    82: ("asks for names only, in the order of what refers to what", (proxyless("names_are_asked_for_one_by_one"),)),
    83: (
        "a name that does not exist, of a client that does not read errors",
        (proxyless("a_name_that_does_not_exist"),),
    ),
    84: ("and of one that does", (proxyless("a_name_that_does_not_exist"),)),
    85: ("a stream that ends after it has been of use", (proxyless("a_stream_that_is_cut"),)),
    86: ("a server that is not there", (proxyless("a_server_that_is_not_there_yet"),)),
    87: ("nobody watches any more", (proxyless("a_channel_that_is_closed_leaves_and_returns"),)),
    88: ("one faulty resource", (proxyless("a_resource_that_is_refused"),)),
    89: ("a client that is slow to read", (ads("a_client_that_does_not_read_does_not_hold_up_the_end"), SOAK)),
}

PLAYED = [
    pytest.param(proof, id=f"{number}: {words}")
    for number, (words, proofs) in SCENARIOS.items()
    for proof in proofs
    if isinstance(proof, Played)
]


@pytest.mark.parametrize("played", PLAYED)
def test_scenario(played: Played) -> None:
    Script(played.variant).run(played.script)


def test_no_scenario_is_missing() -> None:
    assert list(SCENARIOS) == list(range(1, 90))
    assert all(proofs for _, proofs in SCENARIOS.values())


@pytest.mark.parametrize("number", SCENARIOS)
def test_named_tests_exist(number: int) -> None:
    for proof in SCENARIOS[number][1]:
        if isinstance(proof, Named):
            functions, keys = _tests(proof.file)
            assert proof.function in functions
            assert not proof.scenario or proof.scenario in keys


@cache
def _tests(file: str) -> tuple[frozenset[str], frozenset[str]]:
    """The functions of a test file, and the keys of its tables."""
    nodes = ast.parse((Path(__file__).parent / file).read_text()).body
    functions = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    return frozenset(functions), frozenset(key for node in nodes for key in _keys(node))


def _keys(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
        for key in node.value.keys:
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                yield key.value


# --- What the language has no words for -------------------------------------------------------------------------------


def clusters(*names: str) -> Snapshot:
    return Snapshot("all", [Table(kind, [resource(kind, name, "1") for name in names]) for kind in (CDS, EDS)])


@pytest.mark.parametrize("accepted_before", [False, True])
@pytest.mark.parametrize("names_new_version", [False, True])
def test_a_refusal_is_told_by_its_error_whatever_its_version(accepted_before: bool, names_new_version: bool) -> None:
    stream = StateOfTheWorldStream()
    snapshot = clusters("A")
    stream.offer(snapshot, 0)
    stream.receive(DiscoveryRequest(CDS))
    response = stream.next_response(0)
    assert response is not None
    if accepted_before:
        stream.receive(DiscoveryRequest(CDS, version=response.version, nonce=response.nonce))
        snapshot.tables[CDS].update({"A": resource(CDS, "A", "2")})
        old, response = response, stream.next_response(0)
        assert response is not None
        version = response.version if names_new_version else old.version
    else:
        version = response.version if names_new_version else ""
    stream.receive(DiscoveryRequest(CDS, version=version, nonce=response.nonce, error=ERROR))
    assert stream.next_response(0) is None
    assert stream.status()[CDS].error == ERROR


def test_requests_before_the_first_response() -> None:
    stream = StateOfTheWorldStream()
    stream.offer(clusters("A", "B"), 0)
    stream.receive(DiscoveryRequest(EDS, names=("A",)))
    stream.receive(DiscoveryRequest(EDS, names=("A", "B")))
    response = stream.next_response(0)
    assert response is not None
    assert [name for name, _ in read(STATE, response).resources] == ["A", "B"]
    assert stream.next_response(0) is None


def test_a_new_stream_is_answered_whatever_version_it_names() -> None:
    snapshot = clusters("A")
    for _ in range(2):
        stream = StateOfTheWorldStream()
        stream.offer(snapshot, 0)
        for kind in (EDS, CDS):
            stream.receive(DiscoveryRequest(kind, names=("A",), version=snapshot.tables[kind].version))
            assert stream.next_response(0) is not None


def test_delta_resources_have_versions() -> None:
    stream = DeltaStream()
    snapshot = clusters("A", "B")
    stream.offer(snapshot, 0)
    stream.receive(DeltaDiscoveryRequest(CDS))
    response = stream.next_response(0)
    assert response is not None
    got = read(DELTA, response)
    assert dict(zip(dict(got.resources), got.versions, strict=True)) == snapshot.tables[CDS].versions()
    assert len(set(got.versions)) == 2
    assert all(got.versions)
