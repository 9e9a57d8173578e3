"""Localities: in which order, and in which shares, a proxy uses endpoints of several places."""

import pytest
from fairlead.intent import Endpoint, LocalityEndpoints
from fairlead.resolve.localities import LocalityRules, Member, arrange, parse
from fairlead.resolve.scope import Locality
from hypothesis import given
from hypothesis import strategies as st

NEAREST = LocalityRules(prioritised=True)
HOME = Locality("cn", "a", "1")


def member(place: str, weight: int = 1, **labels: str) -> Member:
    return Member(Endpoint(place or "nowhere", 80, weight), parse(place), frozenset(labels.items()))


def shown(groups: tuple[LocalityEndpoints, ...]) -> dict[str, int]:
    """Address -> priority; the addresses here are the places."""
    return {endpoint.address: group.priority for group in groups for endpoint in group.endpoints}


@pytest.mark.parametrize(
    ("rules", "priorities"),
    [
        (LocalityRules(), {"cn/a/1": 0, "cn/a/2": 0, "cn/b": 0, "eu/a": 0, "us/a": 0}),
        (NEAREST, {"cn/a/1": 0, "cn/a/2": 1, "cn/b": 2, "eu/a": 3, "us/a": 3}),
        (NEAREST, {"cn/b": 0, "us/a": 1}),
        (NEAREST, {"us/a": 0}),
        (LocalityRules(prioritised=True, failover=(("cn", "us"),)), {"cn/b": 0, "eu/a": 2, "us/a": 1}),
        (LocalityRules(prioritised=True, failover=(("eu", "us"),)), {"cn/b": 0, "eu/a": 1, "us/a": 1}),
        (LocalityRules(failover=(("cn", "us"),)), {"cn/b": 0, "eu/a": 0, "us/a": 0}),
        # EndpointSlices know zones only.
        (NEAREST, {"/a": 0, "/b": 1, "eu/a": 2}),
        (NEAREST, {"cn/a/1": 0, "": 1}),
    ],
)
def test_priorities_by_distance(rules: LocalityRules, priorities: dict[str, int]) -> None:
    found = shown(arrange(map(member, priorities), HOME, rules))
    assert found == {place or "nowhere": priority for place, priority in priorities.items()}


def labelled(*labels: tuple[str, str | None], failover: tuple[tuple[str, str], ...] = ()) -> LocalityRules:
    return LocalityRules(prioritised=True, labels=labels, failover=failover)


REGION = ("topology.kubernetes.io/region", None)
ZONE = ("topology.kubernetes.io/zone", None)


@pytest.mark.parametrize(
    ("rules", "priorities"),
    [
        (labelled(REGION, ZONE), {"cn/a": 0, "cn/b": 1, "eu/a": 2}),
        (labelled(ZONE, REGION), {"cn/a": 0, "eu/a": 1, "cn/b": 2}),
        (labelled(("topology.kubernetes.io/zone", "b")), {"cn/a": 1, "cn/b": 0}),
        (labelled(ZONE, failover=(("cn", "us"),)), {"cn/a": 0, "us/a": 1, "eu/a": 2, "cn/b": 3}),
    ],
)
def test_priorities_by_labels_of_the_topology(rules: LocalityRules, priorities: dict[str, int]) -> None:
    assert shown(arrange(map(member, priorities), HOME, rules)) == priorities


def test_priorities_by_labels_of_endpoints() -> None:
    members = [member("cn/a", version="v1"), member("cn/b", version="v2"), member("cn/c")]
    found = arrange(members, HOME, labelled(("version", "v2"), ZONE))
    assert shown(found) == {"cn/b": 0, "cn/a": 1, "cn/c": 1}


def weights(rules: LocalityRules, *members: Member) -> dict[str, int | None]:
    found = arrange(members, HOME, rules)
    return {"/".join(filter(None, (group.region, group.zone, group.subzone))): group.weight for group in found}


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ({"cn/a/*": 80, "cn/b/*": 20}, {"cn/a": 80, "cn/b": 20}),
        ({"cn": 100}, {"cn/a": 75, "cn/b": 25}),
        ({"cn/*": 99, "us": 1}, {"cn/a": 75, "cn/b": 25, "us/a": 1}),
        # The more specific one takes the place.
        ({"*": 40, "cn/b": 60}, {"cn/a": 30, "cn/b": 60, "us/a": 10}),
        ({"eu": 100}, {}),
        ({"cn/a": 100, "us": 0}, {"cn/a": 100}),
    ],
)
def test_shares_of_localities(shares: dict[str, int], expected: dict[str, int]) -> None:
    rules = LocalityRules(prioritised=True, distribute=(("cn/a/*", tuple(shares.items())),), weighted=True)
    assert weights(rules, member("cn/a", 3), member("cn/b"), member("us/a")) == expected


def test_shares_are_for_proxies_of_a_place_and_the_first_that_matches_counts() -> None:
    rules = LocalityRules(
        distribute=(("us", (("us", 100),)), ("cn", (("cn/b", 100),)), ("*", (("us", 100),))), weighted=True
    )
    assert weights(rules, member("cn/a"), member("cn/b")) == {"cn/b": 100}


def test_without_shares_for_the_proxy_endpoints_decide() -> None:
    rules = LocalityRules(distribute=(("us", (("us", 100),)),), weighted=True)
    assert weights(rules, member("cn/a", 3), member("cn/b")) == {"cn/a": 3, "cn/b": 1}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Locality()),
        ("cn", Locality("cn")),
        ("cn/a", Locality("cn", "a")),
        ("cn/a/1", Locality("cn", "a", "1")),
        ("cn.a.1", Locality("cn", "a", "1")),
        ("cn-1.a", Locality("cn-1", "a")),
        ("cn/a.b", Locality("cn", "a.b")),
    ],
)
def test_localities_as_people_write_them(text: str, expected: Locality) -> None:
    assert parse(text) == expected


PARTS = st.sampled_from(["", "a", "b"])
PLACES = st.builds(Locality, PARTS, PARTS, PARTS)
MEMBERS = st.lists(st.builds(Member, st.builds(Endpoint, st.sampled_from("xyz"), st.integers(1, 3)), PLACES))
RULES = st.builds(
    LocalityRules,
    prioritised=st.booleans(),
    failover=st.sampled_from([(), (("a", "b"),)]),
    labels=st.sampled_from([(), (REGION, ZONE), (ZONE,)]),
    weighted=st.booleans(),
)


@given(MEMBERS, PLACES, RULES)
def test_no_endpoint_is_lost_and_order_does_not_matter(
    members: list[Member], locality: Locality, rules: LocalityRules
) -> None:
    found = arrange(members, locality, rules)
    assert arrange(reversed(members), locality, rules) == found
    assert sum(len(group.endpoints) for group in found) == len(set(members))
    priorities = sorted({group.priority for group in found})
    assert priorities == list(range(len(priorities)))
    assert all((group.weight is not None) == rules.weighted for group in found)
