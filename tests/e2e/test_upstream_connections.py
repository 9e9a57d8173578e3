"""How gateways talk to services: protocols, TLS, tunnels, limits and times of connections, for each port and subset."""

import asyncio
import contextlib
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from e2e.objects import resource, together
from e2e.services import HTTP, INNER, TUNNEL, Gateways, case, endpoint, routed, rule, running_gateways, service_entry
from support.pki import Authority, key_pem
from support.stack import until

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("upstream")]

POOL = "DestinationRule.trafficPolicy.connectionPool."
NO_RETRIES = "retries: {attempts: 0},"

# --- Protocols --------------------------------------------------------------------------------------------------------

BEHIND = f"{{address: 127.0.0.1, ports: {{http: {INNER}, other: {INNER}}}, labels: {{v: one}}}}"
"""The gateway itself, at another port, where it tells what is spoken with it."""
TELL = resource(
    "networking.istio.io/v1",
    "VirtualService",
    "tell",
    f"""
    hosts: [tell.test]
    gateways: [edge]
    http:
    - match: [{{port: {INNER}}}]
      directResponse: {{status: 200}}
      headers: {{response: {{set: {{x-protocol: "%PROTOCOL%"}}}}}}
    """,
)
PORTS = "{number: 80, name: http, protocol: HTTP}, {number: 81, name: other, protocol: HTTP}"
UPGRADE = "connectionPool: {http: {h2UpgradePolicy: UPGRADE}}"


def spoken(name: str, policy: str, destination: str = "", more: str = "") -> str:
    """A case before the gateway itself."""
    place = f"[{{destination: {{host: {name}.internal, {destination}}}}}]"
    return together(
        service_entry(name, BEHIND, ports=PORTS),
        rule(name, policy, more),
        routed(name, place, "rewrite: {authority: tell.test},"),
    )


PORT_80, PORT_81 = "port: {number: 80}", "port: {number: 81}"
PORT_LEVEL = f"{{{UPGRADE}, portLevelSettings: [{{port: {{number: 81}}, loadBalancer: {{simple: RANDOM}}}}]}}"
SUBSETS = f"subsets: [{{name: one, labels: {{v: one}}, trafficPolicy: {{{UPGRADE}}}}}]"
SPOKEN = {
    "plain": (spoken("plain", "{outlierDetection: {}}", PORT_80), "HTTP/1.1"),
    "upgraded": (spoken("upgraded", f"{{{UPGRADE}}}", PORT_80), "HTTP/2"),
    "kept": (
        spoken("kept", "{connectionPool: {http: {h2UpgradePolicy: DO_NOT_UPGRADE, maxRetries: 1}}}", PORT_80),
        "HTTP/1.1",
    ),
    "as-client": (spoken("as-client", "{connectionPool: {http: {useClientProtocol: true}}}", PORT_80), "HTTP/1.1"),
    "of-all-ports": (spoken("of-all-ports", PORT_LEVEL, PORT_80), "HTTP/2"),
    # Settings of a port replace those of all ports as a whole, also where they say nothing.
    "of-one-port": (spoken("of-one-port", PORT_LEVEL, PORT_81), "HTTP/1.1"),
    "of-subset": (spoken("of-subset", "{outlierDetection: {}}", f"{PORT_80}, subset: one", SUBSETS), "HTTP/2"),
    "pinged": (
        spoken(
            "pinged",
            "{connectionPool: {http: {h2UpgradePolicy: UPGRADE, maxConcurrentStreams: 7, "
            "http2KeepAlive: {interval: 1s, timeout: 1s}}}}",
            PORT_80,
        ),
        "HTTP/2",
    ),
}
"""Name -> objects, and what is spoken to the service."""

# --- TLS --------------------------------------------------------------------------------------------------------------

AUTHORITY, OTHER = Authority("Test CA"), Authority("Other CA", "ec-secp256r1-other")
SERVER = AUTHORITY.issue(
    "inside.test", "ec-secp256r1-server", x509.SubjectAlternativeName([x509.DNSName("inside.test")])
)
CLIENT = AUTHORITY.issue("client", "ec-secp256r1-client")
TLS_PORT, MUTUAL_PORT = 9010, 9011


def certificate_files(folder: Path) -> None:
    for name, content in {
        "ca.pem": AUTHORITY.pem,
        "other.pem": OTHER.pem,
        "server.pem": SERVER.public_bytes(Encoding.PEM) + key_pem("ec-secp256r1-server"),
        "client.pem": CLIENT.public_bytes(Encoding.PEM),
        "client.key": key_pem("ec-secp256r1-client"),
        "good.crl": AUTHORITY.crl(),
        "bad.crl": AUTHORITY.crl(SERVER),
    }.items():
        (folder / name).write_bytes(content)


VERIFIED = "sni: inside.test, caCertificates: {folder}/ca.pem"
FILES = "clientCertificate: {folder}/client.pem, privateKey: {folder}/client.key"
TLS = {
    "tls-file": (f"mode: SIMPLE, {VERIFIED}", 200),
    "tls-other-file": ("mode: SIMPLE, sni: inside.test, caCertificates: {folder}/other.pem", 503),
    "tls-system": ("mode: SIMPLE, sni: inside.test, caCertificates: system", 503),
    "tls-of-port": ("mode: SIMPLE, sni: inside.test, insecureSkipVerify: true", 200),
    "tls-unverified": ("mode: SIMPLE, sni: inside.test, insecureSkipVerify: true", 200),
    "tls-named": (f"mode: SIMPLE, {VERIFIED}, subjectAltNames: [inside.test]", 200),
    "tls-misnamed": (f"mode: SIMPLE, {VERIFIED}, subjectAltNames: [a.test]", 503),
    # Without a name the certificate has to be for the host that requests name.
    "tls-unnamed": ("mode: SIMPLE, caCertificates: {folder}/ca.pem", 503),
    "tls-not-revoked": (f"mode: SIMPLE, {VERIFIED}, caCrl: {{folder}}/good.crl", 200),
    "tls-revoked": (f"mode: SIMPLE, {VERIFIED}, caCrl: {{folder}}/bad.crl", 503),
    "mutual-file": (f"mode: MUTUAL, {VERIFIED}, {FILES}", 200),
    "mutual-secret": ("mode: MUTUAL, sni: inside.test, credentialName: client", 200),
    "mutual-mesh": ("mode: ISTIO_MUTUAL", 200),
    "mutual-stranger": ("mode: ISTIO_MUTUAL, subjectAltNames: ['spiffe://cluster.local/ns/a/sa/b']", 503),
    "mutual-nobody": (f"mode: SIMPLE, {VERIFIED}", 503),
}
"""Name -> `tls` of the policy; what requests end with. Of those that begin with `mutual` the service wants to know who
asks."""


def in_tls(name: str, folder: Path) -> str:
    port = MUTUAL_PORT if name.startswith("mutual") else TLS_PORT
    settings = TLS[name][0].format(folder=folder)
    policy = f"{{tls: {{{settings}}}}}"
    if name == "tls-of-port":
        policy = f"{{portLevelSettings: [{{port: {{number: 80}}, {policy[1:]}]}}"
    return case(name, policy, f"{{address: 127.0.0.1, ports: {{http: {port}}}}}", routes=NO_RETRIES)


def client_secret(name: str) -> str:
    texts = {
        "tls.crt": CLIENT.public_bytes(Encoding.PEM),
        "tls.key": key_pem("ec-secp256r1-client"),
        "ca.crt": AUTHORITY.pem,
    }
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}}
    return yaml.safe_dump(secret | {"stringData": {name: text.decode() for name, text in texts.items()}})


# --- Limits and times -------------------------------------------------------------------------------------------------

A = endpoint("a")


def limited(name: str, tcp: str = "", http: str = "", routes: str = NO_RETRIES, more: str = "") -> str:
    return case(name, f"{{connectionPool: {{tcp: {{{tcp}}}, http: {{{http}}}}}{more}}}", A, routes=routes)


RETRIES = "retries: {attempts: 2, retryOn: 5xx, backoff: 300ms},"
LIMITED = (
    limited("one-request", http="http2MaxRequests: 1"),
    limited("one-each", http="maxRequestsPerConnection: 1"),
    limited("idle", http="idleTimeout: 50ms"),
    limited("idle-tcp", tcp="idleTimeout: 50ms"),
    limited("short", tcp="maxConnectionDuration: 50ms"),
    limited("one-retry", http="maxRetries: 1", routes=RETRIES),
    limited(
        "budget", http="maxRetries: 100", routes=RETRIES, more=", retryBudget: {percent: 0, minRetryConcurrency: 1}"
    ),
    limited("alive", tcp="connectTimeout: 1s, tcpKeepalive: {probes: 3, time: 60s, interval: 10s}"),
)

# --- Tunnels ----------------------------------------------------------------------------------------------------------

PROXY_PORT = 9020
TUNNELLED = together(
    service_entry(
        "proxy", f"{{address: 127.0.0.1, ports: {{tcp: {PROXY_PORT}}}}}", ports="{number: 80, name: tcp, protocol: TCP}"
    ),
    rule("proxy", "{tunnel: {protocol: CONNECT, targetHost: target.test, targetPort: 7}}"),
    resource(
        "networking.istio.io/v1",
        "VirtualService",
        "tunnel",
        f"""
        hosts: ["*"]
        gateways: [edge]
        tcp: [{{match: [{{port: {TUNNEL}}}], route: [{{destination: {{host: proxy.internal}}}}]}}]
        """,
    ),
)


async def forward_proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take a CONNECT, then say what was asked for, and what comes through."""
    asked = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0]
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    writer.write(asked + b"; " + await reader.readline())
    await writer.drain()
    writer.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateways(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateways]:
    folder = tmp_path_factory.mktemp("upstream")
    certificate_files(folder)
    documents = [
        TELL,
        *map(client_secret, ("client", "workload-certificate")),
        *(text for text, _ in SPOKEN.values()),
        *(in_tls(name, folder) for name in TLS),
    ]
    async with running_gateways(folder, *documents, *LIMITED, TUNNELLED, ports=(HTTP, INNER, TUNNEL)) as found:
        own = {"ssl_certfile": folder / "server.pem"}
        await found.stack.backend("tls", TLS_PORT, **own)
        asking = {"ssl_ca_certs": str(folder / "ca.pem"), "ssl_cert_reqs": ssl.CERT_REQUIRED}
        await found.stack.backend("mutual", MUTUAL_PORT, **own, **asking)
        async with await asyncio.start_server(forward_proxy, found.stack.address, PROXY_PORT):
            yield found


@pytest.mark.parametrize("name", SPOKEN)
@pytest.mark.istio_fields(
    "DestinationRule.trafficPolicy.connectionPool.http.{h2UpgradePolicy,maxConcurrentStreams,http2KeepAlive}",
    "DestinationRule.{subsets[].trafficPolicy,trafficPolicy.portLevelSettings[].{port,connectionPool,loadBalancer}}",
)
async def test_what_is_spoken(gateways: Gateways, name: str) -> None:
    (answer,) = await gateways.answers(name, "/")
    assert (answer.status, answer.headers["x-protocol"]) == (200, SPOKEN[name][1])


@pytest.mark.istio_fields("DestinationRule.trafficPolicy.connectionPool.http.useClientProtocol")
async def test_what_clients_speak_is_spoken(gateways: Gateways) -> None:
    url = f"http://{gateways.stack.address}:{HTTP}/"
    for option, protocol in (("--http1.1", "HTTP/1.1"), ("--http2-prior-knowledge", "HTTP/2")):
        curl = await asyncio.create_subprocess_exec(
            "curl", "-sSi", option, "-H", "host: as-client.test", url, stdout=asyncio.subprocess.PIPE
        )
        head, _ = await asyncio.wait_for(curl.communicate(), 20)
        assert f"x-protocol: {protocol}" in head.decode().splitlines()


@pytest.mark.istio_fields("DestinationRule.trafficPolicy.connectionPool.http.http2KeepAlive.{interval,timeout}")
async def test_pings_are_accepted(gateways: Gateways) -> None:
    config = str(await gateways.near.config_dump())
    assert "'connection_keepalive': {'interval': '1s', 'timeout': '1s'}" in config


@pytest.mark.parametrize("name", TLS)
@pytest.mark.istio_fields(
    "DestinationRule.trafficPolicy.tls.{mode,caCertificates,caCrl,clientCertificate,privateKey,credentialName}",
    "DestinationRule.trafficPolicy.portLevelSettings[].tls",
    "DestinationRule.trafficPolicy.tls.{sni,subjectAltNames[],insecureSkipVerify}",
)
async def test_tls(gateways: Gateways, name: str) -> None:
    (answer,) = await gateways.answers(name, "/")
    assert answer.status == TLS[name][1], answer.body


async def at_once(gateways: Gateways, name: str, path: str, times: int = 4) -> Counter[int]:
    answers = await asyncio.gather(*(gateways.answers(name, path) for _ in range(times)))
    return Counter(answer.status for (answer,) in answers)


@pytest.mark.istio_fields("DestinationRule.trafficPolicy.connectionPool.http.http2MaxRequests")
async def test_requests_beyond_the_limit_are_refused(gateways: Gateways) -> None:
    assert await at_once(gateways, "one-request", "/delay/0.3") == {200: 1, 503: 3}


@pytest.mark.parametrize("name", ["one-retry", "budget"])
@pytest.mark.istio_fields(
    "DestinationRule.trafficPolicy.{connectionPool.http.maxRetries,retryBudget.{percent,minRetryConcurrency}}"
)
async def test_retries_beyond_the_limit_are_not_made(gateways: Gateways, name: str) -> None:
    assert await at_once(gateways, name, "/status/503") == {503: 4}
    assert await gateways.count(name, "upstream_rq_retry_overflow") >= 3


@pytest.mark.istio_fields("DestinationRule.trafficPolicy.connectionPool.http.maxRequestsPerConnection")
async def test_connections_for_one_request_each(gateways: Gateways) -> None:
    await gateways.answers("one-each", "/", "/", "/")
    assert await gateways.count("one-each", "upstream_cx_total") == 3


@pytest.mark.parametrize(
    ("name", "statistic"),
    [
        ("idle", "upstream_cx_idle_timeout"),
        ("idle-tcp", "upstream_cx_idle_timeout"),
        ("short", "upstream_cx_max_duration_reached"),
    ],
)
@pytest.mark.istio_fields(
    "DestinationRule.trafficPolicy.connectionPool.{http.idleTimeout,tcp.{idleTimeout,maxConnectionDuration}}"
)
async def test_connections_end_by_time(gateways: Gateways, name: str, statistic: str) -> None:
    (answer,) = await gateways.answers(name, "/")
    assert answer.status == 200
    await until(lambda: gateways.count(name, statistic), "the connection is closed")


@pytest.mark.istio_fields(
    "DestinationRule.trafficPolicy.connectionPool.tcp.{connectTimeout,tcpKeepalive.{probes,time,interval}}"
)
async def test_probes_are_accepted(gateways: Gateways) -> None:
    assert [answer.status for answer in await gateways.answers("alive", "/")] == [200]
    config = str(await gateways.near.config_dump())
    assert "{'keepalive_probes': 3, 'keepalive_time': 60, 'keepalive_interval': 10}" in config


@pytest.mark.istio_fields("DestinationRule.trafficPolicy.tunnel.{protocol,targetHost,targetPort}")
async def test_bytes_travel_in_a_tunnel(gateways: Gateways) -> None:
    reader, writer = await asyncio.open_connection(gateways.stack.address, TUNNEL)
    with contextlib.closing(writer):
        writer.write(b"hello\n")
        assert await asyncio.wait_for(reader.read(), 10) == b"CONNECT target.test:7 HTTP/1.1; hello\n"


async def test_nothing_of_the_objects_is_ignored(gateways: Gateways) -> None:
    assert gateways.stack.fairlead is not None
    problems = (await gateways.stack.fairlead.status())["problems"]
    assert {(problem["code"], problem["object"]) for problem in problems} == set()
