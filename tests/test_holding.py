"""Virtual hosts that lead to nothing are held at their last whole state, with all that this refers to."""

import re
from collections.abc import Iterable
from dataclasses import replace

import pytest
from e2e.objects import issued, secret
from fairlead._pb.envoy.config.endpoint.v3 import endpoint_pb2
from fairlead._pb.envoy.config.route.v3 import route_components_pb2, route_pb2
from fairlead.models.base import KubernetesObject
from fairlead.problems import ObjectKey, Problem, Severity
from fairlead.resolve.scope import Locality, Proxy, Role
from fairlead.resolve.selection import selection
from fairlead.server.groups import Group, GroupKey, Groups
from fairlead.snapshot import types
from fairlead.snapshot.resource import Resource
from fairlead.snapshot.table import Table
from fairlead.world import ObjectName, World
from hypothesis import given, settings
from hypothesis import strategies as st
from support import gateway_api
from support.istio import gateway, http, service, tls, virtual_service
from support.worlds import objects

HERE, FAR = Locality("here"), Locality("far")
PROXIES = (
    Proxy(namespace="edge", labels=frozenset({("app", "edge")}), locality=HERE),
    Proxy(namespace="edge", labels=frozenset({("app", "edge")}), locality=HERE, virtual_host_discovery=True),
)
CLUSTER = "outbound|80|{}|{}.edge.svc.cluster.local"


class Site:
    """Objects, and what proxies of several groups are offered of them."""

    def __init__(self, *texts: str, proxies: tuple[Proxy, ...] = PROXIES) -> None:
        self.world = World()
        self.groups = Groups(self.world)
        self.proxies = proxies
        self._of: dict[Proxy, Group] = {}
        self.tell(*texts)

    def tell(self, *texts: str, without: tuple[str, ...] = ()) -> None:
        """These objects come, or replace others; those of the texts `without` go."""
        for obj in (obj for text in texts for obj in objects(text)):
            self.world.put(obj)
        for obj in (obj for text in without for obj in objects(text)):
            self.world.remove(type(obj), ObjectName(obj.metadata.namespace, obj.metadata.name))
        self.publish()

    def publish(self) -> None:
        """What a hub does in a wave, at once."""
        found = {}
        for proxy in self.proxies:
            key = GroupKey.of(selection(self.world, proxy), proxy)
            found[proxy] = self.groups.get(key, proxy, self._of.get(proxy))
        new = set(self.groups.unfilled)
        for _ in self.groups.steps(new):
            pass
        self.groups.publish(new)
        self._of = found
        for _ in self.groups.drop_unused(set(found.values())):
            pass

    def tables(self, proxy: Proxy) -> dict[str, Table]:
        return dict(self._of[proxy].snapshot.tables)

    def hosts(self, proxy: Proxy) -> dict[str, route_components_pb2.VirtualHost]:
        """Domain -> virtual host."""
        tables, found = self.tables(proxy), []
        if proxy.virtual_host_discovery:
            found += map(route_components_pb2.VirtualHost.FromString, bodies(tables[types.VIRTUAL_HOST]).values())
        else:
            for body in bodies(tables[types.ROUTE_CONFIGURATION]).values():
                found += route_pb2.RouteConfiguration.FromString(body).virtual_hosts
        for host in found:
            host.name = host.name.rpartition("/")[2]
        return {host.domains[0]: host for host in found}

    def leads_to(self, domain: str = "a.example.com") -> list[list[str]]:
        """The clusters to which each group sends the requests of a host."""
        return [clusters(self.hosts(proxy)[domain]) for proxy in self.proxies]

    def addresses(self, cluster: str, proxy: Proxy = PROXIES[0]) -> set[str]:
        """The endpoints of a cluster that proxies have."""
        tables = self.tables(proxy)
        assert cluster in tables[types.CLUSTER]
        resource = tables[types.CLUSTER_LOAD_ASSIGNMENT].get(cluster)
        assert resource is not None
        found = endpoint_pb2.ClusterLoadAssignment.FromString(resource.body)
        return {
            each.endpoint.address.socket_address.address for group in found.endpoints for each in group.lb_endpoints
        }

    def problems(self) -> list[Problem]:
        return list(self.groups.held_problems.keys())


def bodies(table: Table) -> dict[str, bytes]:
    return {name: resource.body for name in table.names() if (resource := table.get(name)) is not None}


def clusters(host: route_components_pb2.VirtualHost) -> list[str]:
    found = []
    for route in host.routes:
        found += [route.route.cluster, *(share.name for share in route.route.weighted_clusters.clusters)]
        found += [mirror.cluster for mirror in route.route.request_mirror_policies]
    return [name for name in found if name]


def to(*destinations: str, more: str = "") -> str:
    """The routes of a VirtualService to these destinations, in equal shares."""
    weight = 100 // len(destinations)
    shares = ", ".join(f"{{destination: {{{destination}}}, weight: {weight}}}" for destination in destinations)
    return f"http: [{{route: [{shares}], {more}}}]"


def route(*destinations: str, name: str = "a", more: str = "") -> str:
    return virtual_service(name, to(*destinations, more=more), hosts=f"{name}.example.com")


def endpoints(name: str, version: str, *addresses: str) -> str:
    listed = ", ".join(f"{{addresses: [{address}]}}" for address in addresses)
    return f"""
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: {name}-{version}
  namespace: edge
  labels: {{kubernetes.io/service-name: {name}, version: {version}}}
addressType: IPv4
ports: [{{name: http, port: 9000}}]
endpoints: [{listed}]
"""


def subsets(*versions: str, policy: str = "") -> str:
    listed = ", ".join(f"{{name: {version}, labels: {{version: {version}}}, {policy}}}" for version in versions)
    return f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: shop, namespace: edge}}
spec: {{host: shop, subsets: [{listed}]}}
"""


EDGE = gateway("edge", http())
SHOP, STORE = service("shop", "{name: http, port: 80}"), service("store", "{name: http, port: 80}")
V1, V2 = endpoints("shop", "v1", "10.0.0.1"), endpoints("shop", "v2", "10.0.0.2")
GOODS = endpoints("store", "v1", "10.0.0.3")
WHOLE = (EDGE, SHOP, STORE, V1, V2, GOODS, subsets("v1", "v2"))
TO_V1 = [[CLUSTER.format("v1", "shop")]] * 2


@pytest.mark.parametrize(
    ("destinations", "field", "said"),
    [
        (["host: shop, subset: v3"], "subset", "no DestinationRule defines subset v3 of shop.edge.svc.cluster.local"),
        (["host: nowhere"], "host", "no service nowhere.edge.svc.cluster.local is known to proxies in namespace edge"),
        (["host: shop, port: {number: 81}"], "number", "Service edge/shop has no port 81 (its ports are 80)"),
        (["host: store", "host: shop, subset: v3"], "subset", "no DestinationRule defines subset v3"),
    ],
)
def test_a_route_to_what_does_not_exist_is_held(destinations: list[str], field: str, said: str) -> None:
    site = Site(*WHOLE, route("host: shop, subset: v1"))
    site.tell(route(*destinations))
    assert site.leads_to() == TO_V1
    (problem,) = site.problems()
    assert (problem.code, problem.severity, problem.path[-1]) == ("held", Severity.ERROR, field)
    assert problem.key is not None
    assert problem.key.name == "a"
    assert "a.example.com is held" in problem.message
    assert said in problem.message
    # What it refers to goes on to follow the world, though no object leads there any more.
    site.tell(endpoints("shop", "v1", "10.0.0.9"))
    assert [site.addresses(TO_V1[0][0], proxy) for proxy in PROXIES] == [{"10.0.0.9"}] * 2
    # Another edit that leads nowhere changes nothing, one that is whole takes effect.
    site.tell(route("host: nowhere-else"))
    assert site.leads_to() == TO_V1
    site.tell(route("host: store"))
    assert site.leads_to() == [[CLUSTER.format("", "store")]] * 2
    assert site.problems() == []
    assert TO_V1[0][0] not in site.tables(PROXIES[0])[types.CLUSTER]


def test_what_comes_late_ends_it() -> None:
    site = Site(*WHOLE, route("host: shop, subset: v1"))
    site.tell(route("host: shop, subset: v3"))
    site.tell(subsets("v1", "v3"), endpoints("shop", "v3", "10.0.0.4"))
    assert site.leads_to() == [[CLUSTER.format("v3", "shop")]] * 2
    assert site.problems() == []
    assert len(site.world.retained.keys()) == 0


@pytest.mark.parametrize(
    ("gone", "back"), [((SHOP,), (SHOP,)), ((SHOP, V1, V2), (SHOP, V1, V2)), ((subsets("v1"),), (subsets("v1"),))]
)
def test_what_a_route_leads_to_is_kept_when_it_goes(gone: tuple[str, ...], back: tuple[str, ...]) -> None:
    site = Site(*WHOLE, route("host: shop, subset: v1"))
    before = [bodies(table) for table in site.tables(PROXIES[0]).values()]
    site.tell(without=gone)
    assert site.leads_to() == TO_V1
    assert [bodies(table) for table in site.tables(PROXIES[0]).values()] == before
    assert len(site.problems()) == 1
    # Also by those who come now, be it from where nobody has been yet.
    site.proxies = (*PROXIES, replace(PROXIES[0], locality=FAR, bind_address="127.0.0.9"))
    site.publish()
    assert site.addresses(TO_V1[0][0], site.proxies[-1]) == {"10.0.0.1"}
    site.tell(*back, endpoints("shop", "v1", "10.0.0.8"))
    assert [site.addresses(TO_V1[0][0], proxy) for proxy in site.proxies] == [{"10.0.0.8"}] * 3
    assert site.problems() == []


OUTSIDE = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: outside, namespace: edge}
spec:
  hosts: [outside.example.com]
  resolution: DNS
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: a.example.com, locality: here}, {address: b.example.com, locality: far}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: outside, namespace: edge}
spec:
  host: outside.example.com
  trafficPolicy: {outlierDetection: {consecutive5xxErrors: 1}}
"""


def test_each_locality_keeps_what_it_has() -> None:
    far = replace(PROXIES[0], locality=FAR)
    site = Site(EDGE, OUTSIDE, route("host: outside.example.com"), proxies=(*PROXIES, far))
    before = everything(site)
    assert bodies(site.tables(PROXIES[0])[types.CLUSTER]) != bodies(site.tables(far)[types.CLUSTER])
    site.tell(without=(OUTSIDE,))
    assert everything(site) == before
    assert len(site.problems()) == 1


SIDECAR = Proxy(Role.SIDECAR, "edge", frozenset({("app", "client")}), bind_address="127.0.0.5", address="127.0.0.6")


def test_sidecars_hold_as_well() -> None:
    def to_subset(subset: str) -> str:
        return virtual_service("shop", to(f"host: shop, subset: {subset}"), hosts="shop", gateways="mesh")

    proxies = (SIDECAR, replace(SIDECAR, virtual_host_discovery=True))
    site = Site(*WHOLE, to_subset("v1"), proxies=proxies)
    domain = next(domain for domain in site.hosts(SIDECAR) if "shop" in domain)
    assert site.leads_to(domain) == TO_V1
    site.tell(to_subset("v3"))
    assert site.leads_to(domain) == TO_V1
    site.tell(without=(subsets("v1"),))
    assert site.leads_to(domain) == TO_V1
    assert site.addresses(TO_V1[0][0], SIDECAR) == {"10.0.0.1"}
    assert {problem.code for problem in site.problems()} == {"held"}
    site.tell(subsets("v3"))
    assert site.leads_to(domain) == [[CLUSTER.format("v3", "shop")]] * 2


RAW = gateway(
    "raw",
    "port: {number: 9000, name: tcp, protocol: TCP}, hosts: ['*']",
    tls("s.example.com", "pass", 443, protocol="TLS", tls="mode: PASSTHROUGH"),
    tls("t.example.com", "other", 443, protocol="TLS", tls="mode: PASSTHROUGH"),
)


def raw(*destinations: str, kind: str = "tcp") -> str:
    """A route for connections to these destinations."""
    shares = ", ".join(f"{{destination: {{{to}}}, weight: {100 // len(destinations)}}}" for to in destinations)
    match = "match: [{port: 443, sniHosts: [s.example.com]}], " if kind == "tls" else ""
    hosts = "s.example.com" if kind == "tls" else '"*"'
    return virtual_service(kind, f"{kind}: [{{{match}route: [{shares}]}}]", hosts=hosts, gateways="raw")


@pytest.mark.parametrize(("kind", "what"), [("tcp", "port 9000"), ("tls", "s.example.com")])
@pytest.mark.parametrize("address", ["", "127.0.0.9"])
def test_routes_of_connections_are_held(kind: str, what: str, address: str) -> None:
    proxies = tuple(replace(proxy, bind_address=address) for proxy in PROXIES)
    site = Site(*WHOLE, RAW, raw("host: shop, subset: v1", "host: shop, subset: v2", kind=kind), proxies=proxies)

    def listeners() -> list[dict[str, bytes]]:
        return [bodies(site.tables(proxy)[types.LISTENER]) for proxy in proxies]

    before = listeners()
    assert TO_V1[0][0].encode() in b"".join(before[0].values())
    for broken, gone in (
        (raw("host: store", "host: shop, subset: v3", kind=kind), ()),
        (raw("host: nowhere", kind=kind), (subsets("v1"), V1)),
    ):
        site.tell(broken, without=gone)
        assert listeners() == before
        (problem,) = site.problems()
        assert problem.message.startswith(f"{what} is held")
        assert problem.path[:2] == ("spec", kind)
    assert site.addresses(TO_V1[0][0], proxies[0]) == {"10.0.0.1"}
    # Other filter chains of the listener go on to change.
    site.tell(
        virtual_service(
            "t",
            "tls: [{match: [{sniHosts: [t.example.com]}], route: [{destination: {host: store}}]}]",
            hosts="t.example.com",
            gateways="raw",
        )
    )
    assert listeners() != before
    assert TO_V1[0][0].encode() in b"".join(listeners()[0].values())
    site.tell(raw("host: store", kind=kind))
    assert TO_V1[0][0].encode() not in b"".join(listeners()[0].values())
    assert TO_V1[0][0] not in site.tables(proxies[0])[types.CLUSTER]
    assert site.problems() == []
    site.tell(raw("host: nowhere", kind=kind))
    site.tell(without=(raw("host: nowhere", kind=kind),))
    assert site.problems() == []


def test_it_goes_when_nothing_needs_it_any_more() -> None:
    site = Site(*WHOLE, route("host: shop, subset: v1"), route("host: store", name="b"))
    site.tell(without=(SHOP,))
    site.tell(without=(route("host: shop, subset: v1"),))
    assert set(site.hosts(PROXIES[0])) == set(site.hosts(PROXIES[1])) == {"b.example.com"}
    for type_url in (types.CLUSTER, types.CLUSTER_LOAD_ASSIGNMENT):
        assert site.tables(PROXIES[1])[type_url].names() == {CLUSTER.format("", "store")}
    assert site.problems() == []


def test_what_is_new_has_nothing_to_fall_back_on() -> None:
    site = Site(EDGE, SHOP, route("host: shop, subset: v1"))
    assert site.leads_to() == TO_V1
    site.tell(route("host: shop, subset: v2"))
    assert site.leads_to() == [[CLUSTER.format("v2", "shop")]] * 2
    assert site.problems() == []
    site.tell(subsets("v2"))
    site.tell(subsets("v1"))
    assert len(site.problems()) == 1, "it has been whole in the meantime"


def test_other_virtual_hosts_go_on() -> None:
    site = Site(*WHOLE, route("host: shop, subset: v1"), route("host: shop, subset: v1", name="b"))
    site.tell(route("host: nowhere"))
    site.tell(route("host: store", name="b"), route("host: store", name="c"))
    for proxy in PROXIES:
        found = {domain: clusters(host) for domain, host in site.hosts(proxy).items()}
        store = [CLUSTER.format("", "store")]
        assert found == {"a.example.com": TO_V1[0], "b.example.com": store, "c.example.com": store}


def test_copies_of_requests_need_no_destination() -> None:
    site = Site(*WHOLE, route("host: store", more="mirror: {host: shop}"))
    site.tell(route("host: store", more="mirror: {host: nowhere}"))
    assert site.leads_to() == [[CLUSTER.format("", "store"), CLUSTER.format("", "nowhere")]] * 2
    assert site.problems() == []


def test_routes_of_the_gateway_api_answer_500_as_specified() -> None:
    texts = [gateway_api.gateway(gateway_api.http()), gateway_api.gateway_class("fairlead", "fairlead/gateway"), SHOP]
    to_shop = gateway_api.route(gateway_api.TO_SHOP)
    site = Site(*texts, to_shop, proxies=(gateway_api.EDGE,))
    (domain,) = site.hosts(gateway_api.EDGE)
    assert clusters(site.hosts(gateway_api.EDGE)[domain]) == [CLUSTER.format("", "shop")]
    site.tell(without=(SHOP,))
    assert [entry.direct_response.status for entry in site.hosts(gateway_api.EDGE)[domain].routes] == [500]
    assert site.problems() == []


def test_the_credentials_of_what_is_lost_go_on_to_be_served() -> None:
    one, two = (secret("inside", issued(name, "inside.test"), namespace="edge") for name in ("one", "two"))
    policy = "trafficPolicy: {tls: {mode: MUTUAL, credentialName: inside}}"
    site = Site(*WHOLE, one, route("host: shop, subset: v1"), subsets("v1", policy=policy))
    held = bodies(site.tables(PROXIES[0])[types.SECRET])
    assert "kubernetes://inside" in held
    site.tell(without=(subsets("v1"),))
    assert bodies(site.tables(PROXIES[0])[types.SECRET]) == held
    site.tell(two)
    renewed = bodies(site.tables(PROXIES[0])[types.SECRET])
    assert renewed.keys() == held.keys()
    assert renewed != held
    site.tell(without=(two,))
    assert "kubernetes://inside" not in site.tables(PROXIES[0])[types.SECRET], "it is not ours to keep"


ANOTHER = gateway("another", http(8080, "other.example.com"), selector="{tier: front}")


@pytest.mark.parametrize("at_once", [True, False])
def test_it_is_held_when_other_objects_apply_to_the_proxies_than_before(*, at_once: bool) -> None:
    labels = frozenset({("app", "edge"), ("tier", "front")})
    proxies = tuple(replace(proxy, labels=labels) for proxy in PROXIES)
    site = Site(*WHOLE, route("host: shop, subset: v1"), proxies=proxies)
    before = {selection(site.world, proxy) for proxy in proxies}
    broken = route("host: shop, subset: v3")
    if not at_once:
        site.tell(broken)
    site.tell(ANOTHER, broken, without=(V1, subsets("v1")))
    assert {selection(site.world, proxy) for proxy in proxies} != before
    assert site.leads_to() == TO_V1
    assert site.addresses(TO_V1[0][0], proxies[1]) == {"10.0.0.1"}
    assert len(site.problems()) == 1
    site.tell(subsets("v3"))
    assert site.leads_to() == [[CLUSTER.format("v3", "shop")]] * 2


def test_nothing_is_left_of_it_without_proxies() -> None:
    site = Site(*WHOLE, route("host: shop, subset: v1"))
    site.tell(without=(SHOP,))
    site.proxies = ()
    site.publish()
    assert site.problems() == []
    assert len(site.world.retained.keys()) == 0
    site.proxies = PROXIES
    site.publish()
    assert site.problems() == []


def test_to_hold_one_costs_no_other() -> None:
    names = [f"h{number}" for number in range(50)]
    site = Site(*WHOLE, *(route("host: store", name=name) for name in names), route("host: shop, subset: v1"))
    before = site.world.graph.computed.copy()
    site.tell(route("host: nowhere"))
    counts = site.world.graph.computed - before
    assert counts["virtual_host_leaves"] == 1
    assert counts["cluster"] <= 2
    assert max(counts.values()) <= 4, counts


# --- Any edits --------------------------------------------------------------------------------------------------------

POOL: dict[ObjectKey, list[KubernetesObject]] = {}
for text in (
    *WHOLE,
    subsets("v1"),
    subsets("v2", policy="trafficPolicy: {loadBalancer: {simple: RANDOM}}"),
    endpoints("shop", "v1", "10.0.0.4", "10.0.0.5"),
    gateway("edge", http(hosts="a.example.com")),
    RAW,
    raw("host: store"),
    raw("host: shop, subset: v1", "host: shop, subset: v2"),
    raw("host: shop, subset: v3"),
    *(
        route(*destinations, name=name)
        for name in "ab"
        for destinations in (
            ["host: shop, subset: v1"],
            ["host: shop, subset: v2"],
            ["host: store"],
            ["host: store", "host: shop, subset: v2"],
        )
    ),
):
    for found in objects(text):
        if found not in POOL.setdefault(found.key, []):
            POOL[found.key].append(found)
FAR_PROXIES = tuple(replace(proxy, locality=FAR) for proxy in PROXIES)


def passed_on_to(listener: Resource) -> set[str]:
    """The clusters that a listener passes connections on to."""
    return {name.decode() for name in re.findall(rb"outbound\|\d+\|\w*\|[a-z.]+local", listener.body)}


def made_of(present: Iterable[KubernetesObject]) -> Site:
    """What proxies are offered that know no earlier state."""
    site = Site(proxies=(*PROXIES, *FAR_PROXIES))
    for obj in present:
        site.world.put(obj)
    site.publish()
    return site


def everything(site: Site) -> list[dict[str, bytes]]:
    return [bodies(table) for proxy in site.proxies for table in site.tables(proxy).values()]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_after_any_edits_all_is_as_it_was_when_it_was_whole_last(data: st.DataObject) -> None:
    present = {key: variants[0] for key, variants in POOL.items()} if data.draw(st.booleans()) else {}
    site = made_of(present.values())
    whole = site.hosts(PROXIES[0])
    whole_listener = site.tables(PROXIES[0])[types.LISTENER].get("0.0.0.0_9000")
    for _ in range(data.draw(st.integers(2, 8))):
        for key in data.draw(st.lists(st.sampled_from(sorted(POOL)), max_size=4)):
            choice = data.draw(st.integers(-1, len(POOL[key]) - 1))
            if choice >= 0:
                present[key] = POOL[key][choice]
                site.world.put(present[key])
            elif key in present:
                site.world.remove(type(present.pop(key)), ObjectName(key.namespace, key.name))
        site.publish()
        fresh = made_of(present.values())
        hosts = fresh.hosts(PROXIES[0])
        existing = fresh.tables(PROXIES[0])[types.CLUSTER].names()
        whole = {domain: host for domain, host in whole.items() if domain in hosts}
        whole |= {domain: host for domain, host in hosts.items() if existing >= set(clusters(host))}
        listener = fresh.tables(PROXIES[0])[types.LISTENER].get("0.0.0.0_9000")
        if listener is None or existing >= passed_on_to(listener):
            whole_listener = listener
        for proxy in site.proxies:
            assert site.hosts(proxy) == hosts | whole
            assert site.tables(proxy)[types.LISTENER].get("0.0.0.0_9000") == (whole_listener or listener)
            tables = site.tables(proxy)
            for name in {name for host in whole.values() for name in clusters(host)}:
                assert name in tables[types.CLUSTER]
                assert name in tables[types.CLUSTER_LOAD_ASSIGNMENT]
        held = {
            domain for domain in whole if whole[domain] != hosts[domain] or not existing >= set(clusters(hosts[domain]))
        }
        if listener is not None and whole_listener is not None and not existing >= passed_on_to(listener):
            held.add("port")
            needed = passed_on_to(whole_listener)
            for proxy in site.proxies:
                for type_url in (types.CLUSTER, types.CLUSTER_LOAD_ASSIGNMENT):
                    assert site.tables(proxy)[type_url].names() >= needed
        assert {problem.message.partition(" ")[0] for problem in site.problems()} == held
        if not held:
            assert everything(site) == everything(fresh)
    for variants in POOL.values():
        site.world.put(variants[0])
    site.publish()
    assert everything(site) == everything(made_of(variants[0] for variants in POOL.values()))
    assert site.problems() == []
    assert len(site.world.retained.keys()) == 0
