"""The incremental variant, scenario by scenario. Lines without an arrow assert silence."""

import pytest
from fairlead.protocol.conversation import ABSENCES_PER_RESPONSE, RESPONSE_BYTES
from fairlead.protocol.delta import DeltaStream
from fairlead.snapshot import types
from fairlead.snapshot.messages import DeltaDiscoveryRequest
from fairlead.snapshot.table import Snapshot, Table, Variant
from support.xds_script import Script, resource

SCENARIOS = {
    "what else a refused response said is said again": """
        have vhds R/a=1 R/b=1
        ask rds +ghost              -> rds ghost=empty
        ack rds
        ask vhds                    -> vhds R/a=1 R/b=1 ghost/*=~
        ack vhds
        have vhds R/a=- R/c=1       -> vhds R/c=1 -R/a
        nack vhds                   -> vhds -R/a
        nack vhds
        have eds A=1
        ask eds +A +B               -> eds A=1 B=empty
        nack eds                    -> eds A=empty B=empty
        nack eds
    """,
    "wildcard: all, then only what changes": """
        have cds A=1 B=1 C=1
        ask cds                     -> cds A=1 B=1 C=1
        ack cds
        ack cds
        have cds A=1
        have cds A=2                -> cds A=2
        ack cds
        have cds B=-                -> cds -B
        ack cds
        have cds B=2                -> cds B=2
        ack cds
    """,
    "an empty first answer ends the wait of a wildcard client": """
        ask cds                     -> cds (empty)
        ack cds
        have cds A=1                -> cds A=1
    """,
    "of other types, no names are none": """
        have eds A=1; rds R=1; sds S=1
        ask eds
        ask rds
        ask sds
        have eds A=2
        ask eds +A                  -> eds A=2
    """,
    "an unknown type is met with silence and harms nothing": """
        have cds A=1
        ask type.googleapis.com/unknown +X
        ask cds                     -> cds A=1
    """,
    "by name: that one only, and each one that is added": """
        have lds A=1 B=1 C=1
        ask lds +A                  -> lds A=1
        ack lds
        ask lds +B                  -> lds B=1
        ack lds
        have lds C=2
        have lds B=2                -> lds B=2
        ack lds
    """,
    "unsubscribed names are silent, and forgotten": """
        have lds A=1 B=1
        ask lds +A +B               -> lds A=1 B=1
        ack lds
        ask lds -B
        have lds B=2
        ask lds +B                  -> lds B=2
        ack lds
        ask lds -B
        ask lds -A
        have lds A=2 B=3
        ask lds
        ask lds +A                  -> lds A=2
    """,
    "a name subscribed to again is sent again": """
        have eds A=1 B=1
        ask eds +A +B               -> eds A=1 B=1
        ack eds
        ask eds +A                  -> eds A=1
        ack eds
        have eds A=2                -> eds A=2
        nonceless eds +B
        ack eds                     -> eds B=1
        ack eds
    """,
    "unknown names are answered, and sent when they come into being": """
        have cds A=1; eds A=1; rds A=1; sds A=1; lds A=1
        ask cds +A +Z               -> cds A=1 -Z !Z
        ack cds
        have cds Z=1                -> cds Z=1
        ack cds
        ask eds +A +Z               -> eds A=1 Z=empty
        ack eds
        have eds Z=1                -> eds Z=1
        ack eds
        ask rds +A +Z               -> rds A=1 Z=empty
        ack rds
        have rds Z=1                -> rds Z=1
        ack rds
        ask sds +A +Z               -> sds A=1 -Z !Z
        ack sds
        have sds Z=1                -> sds Z=1
        ack sds
        ask lds +Z                  -> lds -Z !Z
        ack lds
        have lds Z=1                -> lds Z=1
    """,
    "on demand beside the wildcard": """
        have cds A=1
        ask cds                     -> cds A=1
        ack cds
        ask cds +Z                  -> cds -Z !Z
        ack cds
        have cds Z=1                -> cds Z=1
        ack cds
        ask cds +A                  -> cds A=1
    """,
    "unsubscribing from what was never subscribed to": """
        have cds A=1
        ask cds                     -> cds A=1
        ack cds
        ask cds -Z
        ask cds -A
        ask lds -Z                  -> lds (empty)
        ack lds
        ask eds -Z
    """,
    "the implicit wildcard stays when a name is subscribed to": """
        have cds A=1 B=1
        ask cds                     -> cds A=1 B=1
        ack cds
        ask cds +A                  -> cds A=1
        ack cds
        have cds B=2                -> cds B=2
        ack cds
        ask cds -A                  -> cds A=1
        ack cds
        ask cds -*
        have cds B=3
    """,
    "wildcard and name: what remains of a name is told": """
        have cds A=1 B=1
        ask cds +* +A +Z            -> cds A=1 B=1 -Z !Z
        ack cds
        ask cds -A                  -> cds A=1
        ack cds
        ask cds -Z                  -> cds -Z
        ack cds
    """,
    "wildcard by name, dropped, and again": """
        have cds A=1 B=1
        ask cds +*                  -> cds A=1 B=1
        ack cds
        ask cds -*
        have cds A=2
        ask cds +*                  -> cds A=2 B=1
        ack cds
        ask cds +*                  -> cds A=2 B=1
        ack cds
        have cds B=2                -> cds B=2
    """,
    "wildcard dropped, name kept": """
        have cds A=1 B=1
        ask cds +* +A               -> cds A=1 B=1
        ack cds
        ask cds -*
        have cds A=2 B=2            -> cds A=2
    """,
    "explicit wildcard of a type that has no implicit one": """
        have eds A=1
        ask eds +*                  -> eds A=1
        ack eds
        have eds B=1                -> eds B=1
        ack eds
        have eds A=-                -> eds -A
    """,
    "subscribed and unsubscribed in one request": """
        have cds A=1
        ask cds +A -A
        have cds A=2
        ask cds +A                  -> cds A=2
    """,
    "the empty name is neither a wildcard nor a resource": """
        have cds A=1
        ask cds +
        have cds A=2
        ask cds +A                  -> cds A=2
    """,
    "nothing new for a client that returns": """
        have cds A=1 B=1; eds A=1
        ask cds A:1 B:1             -> cds (empty)
        ack cds
        ask eds +A A:1
        have eds A=2                -> eds A=2
        ack eds
        have cds B=2                -> cds B=2
    """,
    "a client that returns: what has changed, what is new, what is gone": """
        have cds A=1 B=2 C=1
        ask cds A:1 B:1 D:1         -> cds B=2 C=1 -D
        ack cds
    """,
    "a client that returns, by name: what it holds is no subscription": """
        have eds A=1 B=2 X=2
        ask eds +A +B +C +D A:1 B:1 C:1 X:1 D:empty -> eds B=2 C=empty
        ack eds
        have eds X=3
        have eds D=1                -> eds D=1
    """,
    "a client that returns holding a secret and a route that are gone": """
        ask sds +S S:1              -> sds -S !S
        ask rds +R R:1              -> rds R=empty
        ack rds
        connect
        ask rds +R R:empty
    """,
    "refused: silence until the content changes": """
        have cds A=1 B=1
        ask cds                     -> cds A=1 B=1
        nack cds
        nack cds
        have cds B=2                -> cds B=2
        nack cds
        have cds A=2                -> cds A=2
        ack cds
    """,
    "a refusal takes over names": """
        have cds A=1 B=1
        ask cds +A                  -> cds A=1
        nack cds +B                 -> cds B=1
        ack cds
    """,
    "refused, and asked for again": """
        have cds A=1
        ask cds +A                  -> cds A=1
        nack cds +A                 -> cds A=1
        nack cds
    """,
    "names in a stale request are honoured, and it acknowledges nothing": """
        have cds A=1 B=1
        ask cds +A                  -> cds A=1
        stale cds +B
        have cds A=2
        nonceless cds -A
        ack cds                     -> cds B=1
        stale cds +A
        nack cds                    -> cds A=2
        ack cds
    """,
    "each type on its own": """
        have cds A=1; lds L=1
        ask cds                     -> cds A=1
        ask lds                     -> lds L=1
        nack cds
        have lds L=2
        ack lds                     -> lds L=2
    """,
    "newest state wins: one response under way, none queued": """
        have cds A=1
        ask cds                     -> cds A=1
        have cds A=2
        have cds A=3 B=1 C=1
        have cds B=2 C=-
        ack cds                     -> cds A=3 B=2
        ack cds
    """,
    "there and back again while a response is under way": """
        have cds A=1 B=1
        ask cds                     -> cds A=1 B=1
        have cds A=2 B=-
        have cds A=1 B=1 C=1
        have cds C=-
        ack cds
    """,
    "a change undone, and another one, while a refusal is under way": """
        have lds A=1
        ask lds                     -> lds A=1
        ack lds
        have lds A=2                -> lds A=2
        have lds A=1 B=1
        nack lds                    -> lds A=1 B=1
        ack lds
    """,
    "removed before it was sent": """
        have lds A=1
        ask lds                     -> lds A=1
        have lds B=1
        have lds B=-
        nonceless lds +B
        have lds B=2
        have lds B=-
        ack lds                     -> lds -B !B
        ack lds
    """,
    "the endpoints of a service vanish: empty, not removed": """
        have eds A=1
        ask eds +A                  -> eds A=1
        ack eds
        have eds A=-                -> eds A=empty
        ack eds
        have eds A=1                -> eds A=1
    """,
    "another group: what differs": """
        have cds A=1 B=1; rds R=1
        ask cds                     -> cds A=1 B=1
        ask rds +R                  -> rds R=1
        ack cds
        ack rds
        move cds A=1 C=1; rds R=1   -> cds C=1 -B
        ack cds
        have cds A=2                -> cds A=2
        move cds A=1 C=1; rds R=1
        ack cds                     -> cds A=1
        ack cds
    """,
    "another group, while a response is under way": """
        have lds A=1 B=1
        ask lds                     -> lds A=1 B=1
        have lds A=2 B=-
        move lds A=1 B=2
        ack lds                     -> lds B=2
    """,
    "virtual hosts come unasked, after the first request": """
        have rds R=1; vhds R/a=1 R/b=1
        ask rds +R                  -> rds R=1
        ack rds
        ask vhds                    -> vhds R/a=1 R/b=1
        ack vhds
        have vhds R/a=2 R/b=- R/c=1 -> vhds R/a=2 R/c=1 -R/b
        ack vhds
        have rds R=2                -> rds R=2
        ack rds
    """,
    "a route configuration without virtual hosts is told so": """
        have rds R=1 Q=1; vhds Q/a=1
        ask rds +Q +R               -> rds Q=1 R=1
        ask vhds                    -> vhds Q/a=1 R/*=~
        ack vhds
        have vhds R/a=1             -> vhds R/a=1
    """,
    "virtual hosts of a route configuration that comes later follow it": """
        have rds R=1 Q=1 P=1; vhds R/a=1 Q/a=1 Q/b=1
        ask rds +R                  -> rds R=1
        ask vhds                    -> vhds Q/a=1 Q/b=1 R/a=1
        ack vhds
        ack rds
        ask rds +Q                  -> rds Q=1 | vhds Q/a=1 Q/b=1
        ack rds
        ack vhds
        ask rds +P                  -> rds P=1 | vhds P/*=~
        ack rds
        ack vhds
        ask rds -Q
        ask rds +Q                  -> rds Q=1 | vhds Q/a=1 Q/b=1
        ack vhds
        ack rds
    """,
    "virtual hosts of a client that returns": """
        have rds R=1; vhds R/a=1 R/b=2
        ask rds +R R:1
        ask vhds R/a:1 R/b:1 R/c:1  -> vhds R/b=2 -R/c
        ack vhds
        connect
        ask vhds R/a:1 R/b:2        -> vhds (empty)
        ask rds +R R:1
    """,
    "virtual hosts on demand": """
        have vhds R/a=1
        ask vhds                    -> vhds R/a=1
        ack vhds
        ask vhds +R/a               -> vhds R/a=1
        ack vhds
        ask vhds +R/z               -> vhds R/z=~
        ack vhds
        have vhds R/z=1             -> vhds R/z=1
        ack vhds
        have vhds R/z=-             -> vhds -R/z !R/z
    """,
    "a virtual hosts request before any route": """
        ask vhds                    -> vhds (empty)
        ack vhds
        have vhds R/a=1             -> vhds R/a=1
    """,
}


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS.keys())
def test_scenario(scenario: str) -> None:
    Script(Variant.DELTA).run(scenario)


def _stream(type_url: str, resources: dict[str, str], request: DeltaDiscoveryRequest) -> tuple[DeltaStream, Table]:
    table = Table(type_url, [resource(type_url, name, content) for name, content in resources.items()])
    stream = DeltaStream()
    stream.receive(request)
    stream.offer(Snapshot("all", [table]), now=0)
    return stream, table


def test_responses_are_split_by_size_and_each_part_is_of_the_newest_state() -> None:
    third = "x" * (RESPONSE_BYTES // 3)
    names = ["A", "B", "C", "D"]
    stream, table = _stream(types.CLUSTER, dict.fromkeys(names, third), DeltaDiscoveryRequest(types.CLUSTER))
    seen: list[str] = []
    nonces = set()
    while (response := stream.next_response(now=0)) is not None:
        assert sum(map(len, response.frames)) <= RESPONSE_BYTES
        assert stream.next_response(now=0) is None, "the next part waits for the acknowledgement of this one"
        nonces.add(response.nonce)
        stream.receive(DeltaDiscoveryRequest(types.CLUSTER, nonce=response.nonce))
        (event,) = [event for event in stream.events() if hasattr(event, "resources")]
        seen += [item.name for item in event.resources]
        table.update({"D": resource(types.CLUSTER, "D", "small"), "C": None})
        stream.changed(now=0)
    assert seen == ["A", "B", "D"]
    assert len(nonces) == 2


def test_a_resource_above_the_size_of_a_response_is_sent_alone() -> None:
    stream, _ = _stream(
        types.CLUSTER,
        {"A": "1", "B": "x" * (RESPONSE_BYTES + 1), "C": "1"},
        DeltaDiscoveryRequest(types.CLUSTER),
    )
    sizes = []
    while (response := stream.next_response(now=0)) is not None:
        sizes.append(sum(map(len, response.frames)))
        stream.receive(DeltaDiscoveryRequest(types.CLUSTER, nonce=response.nonce))
    assert [size > RESPONSE_BYTES for size in sizes] == [False, True, False]


def test_virtual_hosts_are_never_split() -> None:
    half = "x" * (RESPONSE_BYTES // 2)
    stream, _ = _stream(
        types.VIRTUAL_HOST,
        {"R/a": half, "R/b": half, "R/c": half},
        DeltaDiscoveryRequest(types.VIRTUAL_HOST),
    )
    response = stream.next_response(now=0)
    assert response is not None
    assert sum(map(len, response.frames)) > RESPONSE_BYTES


def test_very_many_unknown_names_are_answered_in_portions() -> None:
    names = tuple(f"unknown-{number}" for number in range(2 * ABSENCES_PER_RESPONSE + 1))
    stream, _ = _stream(types.CLUSTER, {}, DeltaDiscoveryRequest(types.CLUSTER, subscribe=names))
    answered: list[str] = []
    portions = 0
    while (response := stream.next_response(now=0)) is not None:
        portions += 1
        answered += response.removed
        stream.receive(DeltaDiscoveryRequest(types.CLUSTER, nonce=response.nonce))
    assert sorted(answered) == sorted(names)
    assert portions == 3
