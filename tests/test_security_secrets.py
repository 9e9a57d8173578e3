"""No proxy gets a Secret of another namespace, whatever it says and asks for."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from e2e.objects import issued, secret
from fairlead._pb.envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DiscoveryRequest
from support.gateway_api import gateway as api_gateway
from support.identities import Identities, of_namespace
from support.istio import gateway, http, tls
from support.server import Server
from support.tell_tales import betray, of_key, of_pem
from support.xds_client import BOUND, DELTA, SOTW, first_request, open_channel, raw_stream

PAIR = issued("key", "pay.example.com")
SECRETS = "/envoy.service.secret.v3.SecretDiscoveryService"
METHODS = {SOTW: False, DELTA: True, f"{SECRETS}/StreamSecrets": False, f"{SECRETS}/DeltaSecrets": True}
"""Method -> whether it is of the incremental variant."""

OBJECTS = (
    gateway("edge", http(), tls("a.example.com", tls="mode: SIMPLE, credentialName: paykey")),
    gateway(
        "edge-by-whole-names",
        *(
            tls("a.example.com", f"https-{port}", port, tls=f'mode: SIMPLE, credentialName: "{name}"')
            for port, name in enumerate(("kubernetes-gateway://payments/paykey", "kubernetes://payments/paykey"), 8443)
        ),
    ),
    # Others may write Gateways for the proxies of `payments`; those of `edge` may try to refer to what is not theirs.
    gateway("pay", tls("pay.example.com", tls="mode: SIMPLE, credentialName: paykey"), selector="{app: pay}"),
    api_gateway(
        "name: https, port: 443, protocol: HTTPS, "
        "tls: {certificateRefs: [{kind: Secret, name: paykey, namespace: payments}]}"
    ),
    secret("paykey", PAIR, "payments"),
    """
apiVersion: v1
kind: ConfigMap
metadata: {name: paykey, namespace: payments}
data: {ca.crt: "x"}
""",
)
PAY = {"LABELS": {"app": "pay"}}


PIECES = [*of_key(PAIR), *of_pem(PAIR.certificate_pem)]


def betrayed(seen: bytes) -> bool:
    return betray(seen, PIECES)


@pytest.fixture
def identities(tmp_path: Path) -> Identities:
    return Identities(tmp_path)


@pytest.fixture
async def server(tmp_path: Path, identities: Identities) -> AsyncIterator[Server]:
    folder = tmp_path / "objects"
    folder.mkdir()
    async with Server(folder, *OBJECTS, **identities.settings) as started:
        yield started


async def answers(
    server: Server,
    credentials: grpc.ChannelCredentials | None,
    method: str,
    *requests: DiscoveryRequest | DeltaDiscoveryRequest,
) -> bytes:
    """All that the server says to these requests."""
    async with open_channel(server.address, credentials) as channel, asyncio.timeout(BOUND):
        call = raw_stream(channel, method)
        seen = b""
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            for request in requests:
                await call.write(request.SerializeToString())
            await call.done_writing()  # then it answers, and ends
            async for answer in call:
                assert isinstance(answer, bytes)
                seen += answer
        return seen


def asks_for(method: str, names: list[str], metadata: dict[str, Any], node_id: str = "") -> Any:
    """A request for Secrets."""
    request = first_request(DELTA if METHODS[method] else SOTW, node_id, metadata, kind="sds")
    getattr(request, "resource_names_subscribe" if METHODS[method] else "resource_names").extend(names)
    return request


NAMES = [
    "kubernetes://paykey",
    "kubernetes://payments/paykey",
    "kubernetes-gateway://payments/paykey",
    "kubernetes-gateway://payments/paykey-cacert",
    "kubernetes://paykey-cacert",
    "configmap://payments/paykey",
    "configmap://paykey",
    "paykey",
    "payments/paykey",
    "kubernetes://../payments/paykey",
    "kubernetes-gateway://edge/../payments/paykey",
    "kubernetes://",
    "*",
    "",
]
CLAIMS: list[dict[str, Any]] = [
    {},
    PAY,
    {"LABELS": {"app": "edge"}},
    {"LABELS": {"app": "pay", "gateway.networking.k8s.io/gateway-name": "edge"}},
    *({"ROLE": role, **PAY} for role in ("gateway", "sidecar", "waypoint")),
    {"VHDS": True, **PAY},
    {
        "namespace": "payments",
        "CONFIG_NAMESPACE": "payments",
        "WORKLOAD_NAMESPACE": "payments",
        "SERVICE_ACCOUNT": "payments",
        "OWNER": "kubernetes://apis/apps/v1/namespaces/payments/deployments/pay",
        "NAMESPACE": "edge",
        **PAY,
    },
    {"NAMESPACE": "payments", **PAY},
]


@pytest.mark.parametrize("method", METHODS)
async def test_whatever_a_proxy_claims_and_asks_for(server: Server, identities: Identities, method: str) -> None:
    own = identities.client(of_namespace("edge"))
    for claim, node_id in itertools.product(CLAIMS, ("", "router~10.0.0.1~pay.payments~x", "payments")):
        requests = [asks_for(method, NAMES, claim, node_id)]
        if method in (SOTW, DELTA):
            kinds = ("cds", "lds", *(("vhds",) if claim.get("VHDS") and method == DELTA else ()))
            requests += [first_request(method, node_id, claim, kind=kind) for kind in kinds]
        for order in (requests, requests[::-1]):
            assert not betrayed(await answers(server, own, method, *order))
    assert not betrayed(await answers(server, own, method, *(asks_for(method, [name], PAY) for name in NAMES)))


@pytest.mark.parametrize("method", METHODS)
async def test_a_proxy_that_claims_to_hold_it(server: Server, identities: Identities, method: str) -> None:
    """Nor is it told whether what it claims to hold is what there is."""
    own = identities.client(of_namespace("edge"))
    if METHODS[method]:
        request = asks_for(method, [], PAY)
        request.initial_resource_versions.update({name: "1" for name in NAMES if name})
        assert not betrayed(await answers(server, own, method, request))


@pytest.mark.parametrize("method", METHODS)
async def test_whose_it_is_gets_it(server: Server, identities: Identities, method: str) -> None:
    """So the tests above would see it; labels count as claimed, the namespace is that of the certificate."""
    owner = identities.client(of_namespace("payments"))
    assert betrayed(await answers(server, owner, method, asks_for(method, ["kubernetes://paykey"], PAY)))
    named = identities.client(hosts=("pay.payments.svc.cluster.local",))
    assert betrayed(await answers(server, named, method, asks_for(method, ["kubernetes://paykey"], PAY)))


@pytest.mark.parametrize("method", METHODS)
async def test_it_is_not_told_whether_there_is_one(server: Server, identities: Identities, method: str) -> None:
    own = identities.client(of_namespace("edge"))

    async def said(name: str) -> bytes:
        scheme, _, rest = name.partition("://")
        seen = await answers(server, own, method, asks_for(method, [f"{scheme}://{rest}"], PAY))
        return seen.replace(rest.encode(), b"?" * len(rest))

    for scheme in ("kubernetes", "kubernetes-gateway"):
        there, absent = await said(f"{scheme}://payments/paykey"), await said(f"{scheme}://payments/nopkey")
        assert there
        assert there == absent
    assert await said("kubernetes://paykey") == await said("kubernetes://nopkey")


async def test_claims_are_believed_where_no_certificate_can_tell(tmp_path: Path) -> None:
    """On loopback in plaintext: whoever is on this host could read the files, too."""
    async with Server(tmp_path, *OBJECTS) as server:
        for namespace, given in (("payments", True), ("edge", False)):
            request = asks_for(SOTW, ["kubernetes://paykey"], {"NAMESPACE": namespace, **PAY})
            assert betrayed(await answers(server, None, SOTW, request)) is given
