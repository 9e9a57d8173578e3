"""Whatever resolve may write can be rendered, always to the same bytes, is read alike by an independent decoder, and
accepted by a real Envoy."""

from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from fairlead import intent
from fairlead.intent import (
    AuthoritiesCredential,
    AuthoritiesFilesCredential,
    Credential,
    KeyPairCredential,
    KeyPairFilesCredential,
    RouteTable,
)
from fairlead.problems import ObjectKey
from fairlead.render import breakers, clusters, listeners, routes, tls
from fairlead.render import limits as render_limits
from fairlead.snapshot.resource import Resource
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from support import intents
from support.second_decoder import assert_second_decoder_agrees
from support.static_bootstrap import assert_envoy_accepts

Filters = tuple[tuple[intent.LimitFilter, tuple[intent.RequestLimit, ...]], ...]
ORIGIN = (ObjectKey("gateway.networking.k8s.io", "Gateway", "shop", "gw"),)
CREDENTIALS = [
    KeyPairCredential("a", b"chain\xff", b"key", b"staple", ORIGIN),
    KeyPairCredential("a", b"chain", b"key"),
    AuthoritiesCredential("a-cacert", b"ca", b"crl", ORIGIN),
    AuthoritiesCredential("a-cacert", b"ca"),
    KeyPairFilesCredential("file-cert:/a/c~/a/k", "/a/c", "/a/k"),
    AuthoritiesFilesCredential("file-root:ca~/a/l", "ca", "/a/l"),
]

examples = settings(deadline=None, max_examples=30)  # the second decoder is slow, its first use most of all


def table_of(hosts: list[intent.VirtualHost]) -> Resource:
    return routes.route_configuration(RouteTable("http.80", ORIGIN), [routes.virtual_host(host) for host in hosts])


def check(render: Callable[[], Resource]) -> None:
    resource = render()
    assert render() == resource
    assert_second_decoder_agrees(resource)


@examples
@given(intents.virtual_hosts("a.example"))
def test_virtual_hosts(host: intent.VirtualHost) -> None:
    check(lambda: routes.virtual_host(host))
    check(lambda: routes.virtual_host_resource("http.80", routes.virtual_host(host)))


@examples
@given(st.lists(intents.virtual_hosts("a.example"), max_size=3))
def test_route_configurations(hosts: list[intent.VirtualHost]) -> None:
    check(lambda: table_of(hosts))


@examples
@given(intents.listeners("0.0.0.0_80", ["http.80"]))
def test_listeners(listener: intent.Listener) -> None:
    def render() -> Resource:
        listeners.filter_chain.cache_clear()
        return listeners.listener(listener)

    check(render)


@settings(examples, max_examples=15)
@given(intents.governed_listeners("0.0.0.0_80", "http.80"), intents.limits_of_filters)
def test_rules(listener: intent.Listener, filters: Filters) -> None:
    check(lambda: listeners.listener(listener))
    for found, limits in filters:
        check(lambda found=found, limits=limits: render_limits.filter_configuration(found, limits))


@examples
@given(intents.clusters)
def test_clusters(cluster: intent.Cluster) -> None:
    check(lambda: clusters.cluster(cluster))


@examples
@given(intents.endpoint_assignments)
def test_endpoint_assignments(assignment: intent.EndpointAssignment) -> None:
    check(lambda: clusters.endpoint_assignment(assignment))


@pytest.mark.parametrize("credential", CREDENTIALS)
def test_secrets(credential: Credential) -> None:
    check(lambda: tls.secret(credential))


# --- The real Envoy ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def secrets() -> list[Resource]:
    authority = trustme.CA()
    pair = authority.issue_cert("a.example")
    chain = b"".join(blob.bytes() for blob in pair.cert_chain_pems)
    return [
        tls.secret(KeyPairCredential(intents.KEY_PAIR, chain, pair.private_key_pem.bytes())),
        tls.secret(AuthoritiesCredential(intents.AUTHORITIES, authority.cert_pem.bytes())),
    ]


def distinct(resources: list[Resource]) -> list[Resource]:
    return list({resource.name: resource for resource in resources}.values())


@pytest.mark.e2e
@pytest.mark.timeout(180)
@settings(
    max_examples=10,  # each of many resources, and with an Envoy of its own; the first five are small
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],  # to shrink a failure would take minutes; Envoy says what is wrong
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.filter_too_much,  # as it calls what becomes too large
    ],
)
@given(data=st.data())
def test_envoy_accepts_it(data: st.DataObject, secrets: list[Resource], tmp_path: Path) -> None:
    hosts = [data.draw(intents.virtual_hosts(f"h{number}.example")) for number in range(6)]
    drawn_listeners = [data.draw(intents.listeners(f"listener-{number}", ["http.80"])) for number in range(6)]
    drawn_listeners += [data.draw(intents.governed_listeners(f"governed-{number}", "http.80")) for number in range(2)]
    filters: Filters = data.draw(intents.limits_of_filters)
    known = intent.Governance(limits=tuple(found for found, _ in filters), breakers=True)
    chain = intent.FilterChain("limited", (), None, intent.HttpConnections("http.80", "limited", governance=known), ())
    drawn_listeners.append(intent.Listener("limited", "127.0.0.1", 0, (chain,), ()))
    drawn_clusters = data.draw(st.lists(intents.clusters, min_size=6, max_size=6))
    assignments = [
        intent.EndpointAssignment(cluster.backend, data.draw(intents.endpoint_assignments).localities, ORIGIN)
        for cluster in drawn_clusters
        if cluster.discovery is intent.Discovery.ASSIGNED
    ]
    resources = [
        table_of(hosts),
        *(listeners.listener(listener) for listener in drawn_listeners),
        *(render_limits.filter_configuration(*found) for found in filters),
        breakers.filter_configuration([]),
        *distinct([clusters.cluster(cluster) for cluster in drawn_clusters]),
        *(clusters.endpoint_assignment(assignment) for assignment in assignments),
        *secrets,
    ]
    assert_envoy_accepts(resources, tmp_path)
