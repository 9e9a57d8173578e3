"""What is rendered does on a real Envoy what the intent says."""

import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from fairlead.intent import (
    AuthoritiesCredential,
    Backend,
    ClientCertificates,
    Cluster,
    Cors,
    Destination,
    DirectResponse,
    Discovery,
    Endpoint,
    EndpointAssignment,
    Fault,
    FilterChain,
    Forward,
    HeaderOperations,
    HttpConnections,
    KeyPairCredential,
    Listener,
    LocalityEndpoints,
    Match,
    PathMatch,
    PathMatchKind,
    PathRewrite,
    PathRewriteKind,
    Redirect,
    Route,
    RouteTable,
    StringMatch,
    StringMatchKind,
    TcpConnections,
    TlsOrigination,
    TlsTermination,
    UpstreamProtocol,
    Validation,
    ValueMatch,
    VirtualHost,
    WeightedBackend,
)
from fairlead.playground.backend import Backend as Server
from fairlead.playground.envoy import Envoy, free_port
from fairlead.render import clusters, listeners, routes, tls
from fairlead.snapshot.resource import Resource
from support.static_bootstrap import static_bootstrap

pytestmark = pytest.mark.e2e

TABLE = "http.80"
A, B = Backend("a.example", 80), Backend("b.example", 80)
FORWARD = Forward((Destination(A),))
ANY = Match()


def route(match: Match, action: Any, **fields: Any) -> Route:
    return Route("route", match, action, (), **fields)


def prefix(value: str, kind: PathMatchKind = PathMatchKind.SEGMENT_PREFIX) -> Match:
    return Match(PathMatch(kind, value))


def host(name: str, *entries: Route, **fields: Any) -> VirtualHost:
    return VirtualHost(f"{name}:80", (name,), entries, (), **fields)


def table(hosts: Iterable[VirtualHost]) -> Resource:
    return routes.route_configuration(RouteTable(TABLE, ()), [routes.virtual_host(entry) for entry in hosts])


def http_chain(name: str = "http", **fields: Any) -> FilterChain:
    return FilterChain(name, (), None, HttpConnections(TABLE, "in"), (), **fields)


def served_by(backend: Backend, port: int, address: str = "127.0.0.1", **fields: Any) -> list[Resource]:
    places = (LocalityEndpoints(endpoints=(Endpoint(address, port),)),)
    if fields.get("discovery", Discovery.ASSIGNED) is not Discovery.ASSIGNED:
        fields["localities"] = places
    cluster = Cluster(
        **{"discovery": Discovery.ASSIGNED, "protocol": UpstreamProtocol.HTTP1, "origin": ()} | fields, backend=backend
    )
    return [clusters.cluster(cluster), clusters.endpoint_assignment(EndpointAssignment(backend, places, ()))]


@dataclass
class Running:
    """An Envoy that runs, and where it listens."""

    port: int
    client: httpx.AsyncClient

    async def ask(self, path: str, host: str = "any.example", method: str = "GET", **headers: str) -> httpx.Response:
        return await self.client.request(
            method,
            f"http://127.0.0.1:{self.port}{path}",
            headers={"host": host} | {name.replace("_", "-"): value for name, value in headers.items()},
        )


@asynccontextmanager
async def running(
    folder: Path,
    resources: Iterable[Resource],
    port: int,
    chains: tuple[FilterChain, ...] = (http_chain(),),
    **fields: Any,
) -> AsyncIterator[Running]:
    listener = listeners.listener(Listener("in", "127.0.0.1", port, chains, (), **fields))
    bootstrap = static_bootstrap([listener, *resources], admin_port=free_port())
    async with Envoy(bootstrap, folder), httpx.AsyncClient(timeout=10) as client:
        yield Running(port, client)


# --- Paths ------------------------------------------------------------------------------------------------------------

SEGMENT, TEXT, EXACT, REGEX = (
    PathMatchKind.SEGMENT_PREFIX,
    PathMatchKind.PREFIX,
    PathMatchKind.EXACT,
    PathMatchKind.REGEX,
)


@dataclass
class Rewrite:
    """A route, and what becomes of a path."""

    kind: PathMatchKind
    matched: str
    rewrite: PathRewriteKind
    value: str
    asked: str
    seen: str
    pattern: str = ""
    ignore_case: bool = False


REWRITES = [
    # Whole segments: a slash at the end of the new ones makes no difference.
    Rewrite(SEGMENT, "/a", PathRewriteKind.PREFIX, "/x", "/a/b?q=1", "/x/b?q=1"),
    Rewrite(SEGMENT, "/a", PathRewriteKind.PREFIX, "/x/", "/a/b", "/x/b"),
    Rewrite(SEGMENT, "/a", PathRewriteKind.PREFIX, "/x", "/a", "/x"),
    Rewrite(SEGMENT, "/a", PathRewriteKind.PREFIX, "/", "/a/b?q=1", "/b?q=1"),
    Rewrite(SEGMENT, "/a", PathRewriteKind.PREFIX, "/", "/a", "/"),
    Rewrite(SEGMENT, "/a", PathRewriteKind.PREFIX, "", "/a?q=1", "/?q=1"),
    Rewrite(SEGMENT, "/a", PathRewriteKind.PREFIX, "", "/a/", "/"),
    Rewrite(SEGMENT, "/a.b+c", PathRewriteKind.PREFIX, "/", "/a.b+c/d", "/d"),
    Rewrite(SEGMENT, "/A", PathRewriteKind.PREFIX, "/", "/a/b", "/b", ignore_case=True),
    Rewrite(SEGMENT, "/", PathRewriteKind.PREFIX, "/x", "/a/b", "/x/a/b"),
    Rewrite(SEGMENT, "/", PathRewriteKind.PREFIX, "/x", "/", "/x/"),
    Rewrite(SEGMENT, "/", PathRewriteKind.PREFIX, "/", "/a", "/a"),
    # Text: exactly what is written.
    Rewrite(TEXT, "/a/", PathRewriteKind.PREFIX, "/x/", "/a/b", "/x/b"),
    Rewrite(TEXT, "/a", PathRewriteKind.PREFIX, "/x", "/ab", "/xb"),
    Rewrite(EXACT, "/a", PathRewriteKind.PREFIX, "/x", "/a?q=1", "/x?q=1"),
    Rewrite(REGEX, "/a/.*", PathRewriteKind.PREFIX, "/x", "/a/b?q=1", "/x?q=1"),
    # The whole path; what looks like a reference to a group is none.
    Rewrite(SEGMENT, "/a", PathRewriteKind.FULL, "/x", "/a/b?q=1", "/x?q=1"),
    Rewrite(SEGMENT, "/a", PathRewriteKind.REGEX, r"/\2/\1", "/a/b/c?q=1", "/c/b?q=1", pattern="^/a/([a-z])/([a-z])$"),
    Rewrite(SEGMENT, "/a", PathRewriteKind.REGEX, "x", "/a/b/b", "/a/x/x", pattern="b"),
]


def rewriting(row: Rewrite) -> tuple[Match, PathRewrite]:
    return Match(PathMatch(row.kind, row.matched, row.ignore_case)), PathRewrite(row.rewrite, row.value, row.pattern)


async def test_paths_are_rewritten(tmp_path: Path) -> None:
    hosts = []
    for number, row in enumerate(REWRITES):
        match, rewrite = rewriting(row)
        hosts.append(host(f"r{number}.example", route(match, Forward((Destination(A),), path_rewrite=rewrite))))
    async with (
        Server("a", free_port()) as server,
        running(tmp_path, [table(hosts), *served_by(A, server.port)], free_port()) as envoy,
    ):
        for number, row in enumerate(REWRITES):
            answer = (await envoy.ask(row.asked, f"r{number}.example")).json()
            query = f"?{answer['query']}" if answer["query"] else ""
            assert (row, answer["path"] + query) == (row, row.seen)


async def test_redirects_rewrite_paths_too(tmp_path: Path) -> None:
    rows = [row for row in REWRITES if row.rewrite is not PathRewriteKind.REGEX]
    hosts = []
    for number, row in enumerate(rows):
        match, rewrite = rewriting(row)
        hosts.append(host(f"r{number}.example", route(match, Redirect(302, path=rewrite))))
    async with running(tmp_path, [table(hosts)], free_port()) as envoy:
        for number, row in enumerate(rows):
            answer = await envoy.ask(row.asked, f"r{number}.example")
            assert (row, answer.headers["location"]) == (row, f"http://r{number}.example{row.seen}")


@pytest.mark.parametrize(
    ("redirect", "status", "location"),
    [
        (Redirect(301, scheme="https"), 301, "https://a.example/x?q=1"),
        (Redirect(302, host="b.example"), 302, "http://b.example/x?q=1"),
        (Redirect(303, port=8080), 303, "http://a.example:8080/x?q=1"),
        (Redirect(307, scheme="https", port=443), 307, "https://a.example:443/x?q=1"),
        (Redirect(308, path=PathRewrite(PathRewriteKind.FULL, "/y?z=2")), 308, "http://a.example/y?z=2"),
    ],
)
async def test_redirects(redirect: Redirect, status: int, location: str, tmp_path: Path) -> None:
    async with running(tmp_path, [table([host("a.example", route(ANY, redirect))])], free_port()) as envoy:
        answer = await envoy.ask("/x?q=1", "a.example")
        assert (answer.status_code, answer.headers["location"]) == (status, location)


# --- Matches ----------------------------------------------------------------------------------------------------------


def text(kind: StringMatchKind, value: str, *, ignore_case: bool = False) -> StringMatch:
    return StringMatch(kind, value, ignore_case)


MATCHES: list[tuple[Match, str, dict[str, str], bool]] = [
    (ANY, "/", {}, True),
    (prefix("/a"), "/a", {}, True),
    (prefix("/a"), "/a/b", {}, True),
    (prefix("/a"), "/ab", {}, False),
    (prefix("/"), "/a", {}, True),
    (prefix(""), "/a", {}, True),
    (prefix("/a", TEXT), "/ab", {}, True),
    (prefix("/a", EXACT), "/a?q=1", {}, True),
    (prefix("/a", EXACT), "/a/", {}, False),
    (prefix("/[ab]", REGEX), "/b", {}, True),
    (prefix("/[ab]", REGEX), "/bb", {}, False),
    (Match(PathMatch(REGEX, "/[ab]", ignore_case=True)), "/B", {}, True),
    (Match(PathMatch(TEXT, "/A", ignore_case=True)), "/ab", {}, True),
    (Match(PathMatch(TEXT, "/A")), "/ab", {}, False),
    (Match(headers=(ValueMatch("x-a", None),)), "/", {"x-a": "1"}, True),
    (Match(headers=(ValueMatch("x-a", None),)), "/", {}, False),
    (Match(headers=(ValueMatch("x-a", None, invert=True),)), "/", {"x-a": "1"}, False),
    (Match(headers=(ValueMatch("x-a", None, invert=True),)), "/", {}, True),
    (Match(headers=(ValueMatch("x-a", text(StringMatchKind.EXACT, "1"), invert=True),)), "/", {}, True),
    (Match(headers=(ValueMatch("x-a", text(StringMatchKind.EXACT, "1"), invert=True),)), "/", {"x-a": "1"}, False),
    (
        Match(headers=(ValueMatch("x-a", text(StringMatchKind.EXACT, "AB", ignore_case=True)),)),
        "/",
        {"x-a": "ab"},
        True,
    ),
    (Match(headers=(ValueMatch("x-a", text(StringMatchKind.PREFIX, "a")),)), "/", {"x-a": "ab"}, True),
    (Match(headers=(ValueMatch("x-a", text(StringMatchKind.PREFIX, "")),)), "/", {"x-a": "ab"}, True),
    (Match(headers=(ValueMatch("x-a", text(StringMatchKind.PREFIX, "")),)), "/", {}, False),
    (Match(headers=(ValueMatch("x-a", text(StringMatchKind.SUFFIX, "b")),)), "/", {"x-a": "ab"}, True),
    (Match(headers=(ValueMatch("x-a", text(StringMatchKind.CONTAINS, "b")),)), "/", {"x-a": "abc"}, True),
    (Match(headers=(ValueMatch("x-a", text(StringMatchKind.REGEX, "a.c")),)), "/", {"x-a": "abc"}, True),
    (Match(headers=(ValueMatch("x-a", text(StringMatchKind.REGEX, "a.c")),)), "/", {"x-a": "abcd"}, False),
    (
        Match(headers=(ValueMatch("x-a", text(StringMatchKind.REGEX, "A.C", ignore_case=True)),)),
        "/",
        {"x-a": "abc"},
        True,
    ),
    (Match(headers=(ValueMatch(":method", text(StringMatchKind.EXACT, "GET")),)), "/", {}, True),
    (Match(query_parameters=(ValueMatch("q", None),)), "/?q", {}, True),
    (Match(query_parameters=(ValueMatch("q", None),)), "/?p=q", {}, False),
    (Match(query_parameters=(ValueMatch("q", text(StringMatchKind.EXACT, "1")),)), "/?p=2&q=1", {}, True),
    (Match(query_parameters=(ValueMatch("q", text(StringMatchKind.EXACT, "")),)), "/?q=", {}, True),
]


async def test_requests_are_matched(tmp_path: Path) -> None:
    hosts = [
        host(f"m{number}.example", route(match, DirectResponse(200, b"yes")), route(ANY, DirectResponse(200, b"no")))
        for number, (match, *_) in enumerate(MATCHES)
    ]
    async with running(tmp_path, [table(hosts)], free_port()) as envoy:
        for number, (match, path, headers, matches) in enumerate(MATCHES):
            answer = await envoy.ask(path, f"m{number}.example", **headers)
            assert (match, path, headers, answer.text) == (match, path, headers, "yes" if matches else "no")


# --- Destinations -----------------------------------------------------------------------------------------------------


def sets(**headers: str) -> HeaderOperations:
    return HeaderOperations(set=tuple((name.replace("_", "-"), value) for name, value in headers.items()))


async def test_headers_are_changed(tmp_path: Path) -> None:
    """Those of an only destination come after the route's own; in a set of destinations each has its own."""
    operations = HeaderOperations(
        set=(("x-set", "route"), ("x-empty", ""), ("host", "evil.example"), (":path", "/evil")),
        add=(("x-add", "2"),),
        remove=("x-gone", ":method", "Host"),
    )
    only = Destination(A, request_headers=sets(x_set="destination"), response_headers=sets(x_answer="destination"))
    share = Destination(A, request_headers=sets(x_share="1"), response_headers=sets(x_answer="share"))
    hosts = [
        host(
            "one.example", route(ANY, Forward((only,)), request_headers=operations, response_headers=sets(server="s"))
        ),
        host("two.example", route(ANY, Forward((share, share)))),
    ]
    async with (
        Server("a", free_port()) as server,
        running(tmp_path, [table(hosts), *served_by(A, server.port)], free_port()) as envoy,
    ):
        answer = await envoy.ask("/p", "one.example", x_set="client", x_add="1", x_gone="1", x_empty="full")
        headers = answer.json()["headers"]
        assert (headers["host"], answer.json()["path"], answer.json()["method"]) == ("one.example", "/p", "GET")
        assert (headers["x-set"], headers["x-empty"], headers.get("x-gone")) == ("destination", "", None)
        assert headers["x-envoy-attempt-count"] == "1"
        assert answer.headers["x-answer"] == "destination"

        answer = await envoy.ask("/", "two.example")
        assert answer.json()["headers"]["x-share"] == "1"
        assert (answer.headers["x-answer"], answer.headers["server"]) == ("share", "istio-envoy")


HOSTS = [
    (Forward((Destination(A),)), "client.example"),
    (Forward((Destination(A),), host="route.example"), "route.example"),
    (Forward((Destination(A, host="share.example"),)), "share.example"),
    (Forward((Destination(A, host="share.example"),), host="route.example"), "route.example"),
    (Forward((Destination(A), Destination(A)), host="route.example"), "route.example"),
    (Forward((Destination(A, host="share.example"),) * 2, host="route.example"), "share.example"),
    (Forward((Destination(A, weight=10**6), Destination(A, host="x.example")), host="route.example"), "route.example"),
    (Forward((Destination(A, weight=10**6), Destination(A, host="x.example"))), "client.example"),
]


async def test_hosts_are_rewritten(tmp_path: Path) -> None:
    """An only destination's host gives way to the route's, one of several goes before it."""
    entries = [route(prefix(f"/{number}"), action) for number, (action, _) in enumerate(HOSTS)]
    async with (
        Server("a", free_port()) as server,
        running(
            tmp_path, [table([host("client.example", *entries)]), *served_by(A, server.port)], free_port()
        ) as envoy,
    ):
        for number, (action, expected) in enumerate(HOSTS):
            seen = (await envoy.ask(f"/{number}", "client.example")).json()["headers"]["host"]
            assert (action, seen) == (action, expected)


@pytest.mark.parametrize("status", [404, 500, 503])
@pytest.mark.parametrize("destinations", [(Destination(None),), (Destination(None), Destination(None, weight=3))])
async def test_what_is_unresolved_is_answered(
    status: int, destinations: tuple[Destination, ...], tmp_path: Path
) -> None:
    hosts = [host("a.example", route(ANY, Forward(destinations, unresolved_status=status)))]
    async with running(tmp_path, [table(hosts)], free_port()) as envoy:
        assert (await envoy.ask("/", "a.example")).status_code == status


async def test_faults_cors_and_redirects_to_https(tmp_path: Path) -> None:
    """Features of routes work without a change of the listener."""
    cors = Cors((text(StringMatchKind.EXACT, "https://shop.example"),), ("GET", "PUT"), ("x-a",), max_age=1_500_000_000)
    hosts = [
        host("fault.example", route(ANY, FORWARD, fault=Fault(abort_status=418, abort_share=1_000_000))),
        host("grpc.example", route(ANY, FORWARD, fault=Fault(abort_grpc_status=8, abort_share=1_000_000))),
        host("never.example", route(ANY, DirectResponse(200), fault=Fault(abort_status=418, abort_share=0))),
        host("cors.example", route(ANY, FORWARD, cors=cors)),
        host("tls.example", route(ANY, FORWARD), require_tls=True),
        host("bytes.example", route(ANY, DirectResponse(203, b"\xff\x00"))),
    ]
    async with running(tmp_path, [table(hosts)], free_port()) as envoy:
        assert (await envoy.ask("/", "fault.example")).status_code == 418
        answer = await envoy.ask("/", "grpc.example", content_type="application/grpc")
        assert answer.headers["grpc-status"] == "8"
        assert (await envoy.ask("/", "never.example")).status_code == 200
        answer = await envoy.ask(
            "/", "cors.example", "OPTIONS", origin="https://shop.example", access_control_request_method="PUT"
        )
        assert {name: value for name, value in answer.headers.items() if name.startswith("access")} == {
            "access-control-allow-origin": "https://shop.example",
            "access-control-allow-methods": "GET,PUT",
            "access-control-allow-headers": "x-a",
            "access-control-max-age": "2",
        }
        answer = await envoy.ask("/x", "tls.example")
        assert (answer.status_code, answer.headers["location"]) == (301, "https://tls.example/x")
        answer = await envoy.ask("/", "bytes.example:8080")  # the port is no part of the match
        assert (answer.status_code, answer.content) == (203, b"\xff\x00")


# --- Listeners and TLS ------------------------------------------------------------------------------------------------


@dataclass
class Certificates:
    """Key pairs of one authority."""

    authority: trustme.CA = field(default_factory=trustme.CA)

    def pair(self, name: str, *names: str) -> Resource:
        issued = self.authority.issue_cert(*names)
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        return tls.secret(KeyPairCredential(name, chain, issued.private_key_pem.bytes()))

    def authorities(self, name: str) -> Resource:
        return tls.secret(AuthoritiesCredential(name, self.authority.cert_pem.bytes()))

    def client(self, *names: str) -> ssl.SSLContext:
        """What a client uses that trusts the authority, with a certificate of its own if it has names."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        if names:
            self.authority.issue_cert(*names).configure_cert(context)
        return context


async def get(port: int, name: str, context: ssl.SSLContext) -> httpx.Response:
    """What https://name/ answers on that port."""
    async with httpx.AsyncClient(verify=context) as client:
        return await client.get(f"https://127.0.0.1:{port}/", headers={"host": name}, extensions={"sni_hostname": name})


async def test_one_listener_for_plain_text_terminated_and_passed_through(tmp_path: Path) -> None:
    """TLS for all names goes beside plain text, because each chain says which of them it takes."""
    certificates = Certificates()
    passed_on = FilterChain(
        "through", ("through.example",), None, TcpConnections("through", (WeightedBackend(B),)), (), passthrough=True
    )
    terminated = FilterChain("tls", (), TlsTermination(("pair",)), HttpConnections(TABLE, "tls"), ())
    behind = certificates.authority.issue_cert("through.example")
    behind.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "behind.pem"))
    hosts = [host("*", route(ANY, DirectResponse(200, b"gateway")))]
    async with (
        Server("b", free_port(), ssl_certfile=str(tmp_path / "behind.pem")) as server,
        running(
            tmp_path,
            [table(hosts), certificates.pair("pair", "a.example"), *served_by(B, server.port)],
            free_port(),
            (http_chain(), terminated, passed_on),
        ) as envoy,
    ):
        assert (await envoy.ask("/")).text == "gateway"
        assert (await get(envoy.port, "a.example", certificates.client())).text == "gateway"
        assert (await get(envoy.port, "through.example", certificates.client())).json()["backend"] == "b"


@pytest.mark.parametrize(
    ("asked", "validation", "names", "accepted"),
    [
        (ClientCertificates.NOT_REQUESTED, Validation("cas"), (), True),
        (ClientCertificates.OPTIONAL, Validation("cas"), (), True),
        (ClientCertificates.OPTIONAL, Validation("cas"), ("client.example",), True),
        (ClientCertificates.REQUIRED, Validation("cas"), (), False),
        (ClientCertificates.REQUIRED, Validation("cas"), ("client.example",), True),
        (ClientCertificates.REQUIRED, Validation("other"), ("client.example",), False),
        (ClientCertificates.REQUIRED, Validation("other", accept_untrusted=True), ("client.example",), True),
        (ClientCertificates.REQUIRED, Validation(accept_untrusted=True), ("client.example",), True),
        (
            ClientCertificates.REQUIRED,
            Validation("cas", subject_alternative_names=("b.example", "client.example")),
            ("client.example",),
            True,
        ),
        (
            ClientCertificates.REQUIRED,
            Validation("cas", subject_alternative_names=("b.example",)),
            ("client.example",),
            False,
        ),
        (ClientCertificates.REQUIRED, Validation("cas", subject_alternative_names=("10.0.0.1",)), ("10.0.0.1",), True),
        (
            ClientCertificates.REQUIRED,
            Validation("cas", subject_alternative_names=("me@client.example",)),
            ("me@client.example",),
            True,
        ),
    ],
)
async def test_client_certificates(
    asked: ClientCertificates, validation: Validation, names: tuple[str, ...], accepted: bool, tmp_path: Path
) -> None:
    certificates, others = Certificates(), Certificates()
    termination = TlsTermination(("pair",), asked, validation, alpn=("h2", "http/1.1"))
    chain = FilterChain("tls", ("*.example",), termination, HttpConnections(TABLE, "tls"), ())
    secrets = [
        certificates.pair("pair", "a.example"),
        certificates.authorities("cas"),
        others.authorities("other"),
    ]
    hosts = [host("*", route(ANY, DirectResponse(200)))]
    async with running(tmp_path, [table(hosts), *secrets], free_port(), (chain,)) as envoy:
        if accepted:
            assert (await get(envoy.port, "a.example", certificates.client(*names))).status_code == 200
        else:
            with pytest.raises((httpx.TransportError, ssl.SSLError)):
                await get(envoy.port, "a.example", certificates.client(*names))


async def test_wildcard_listeners_move_to_another_address(tmp_path: Path) -> None:
    port = free_port()
    chains = (http_chain(),)
    wildcard = listeners.listener(Listener(f"0.0.0.0_{port}", "0.0.0.0", port, chains, ()))
    hosts = [host("*", route(ANY, DirectResponse(200, b"here")))]
    bootstrap = static_bootstrap(
        [listeners.bind(wildcard, "127.1.2.3"), table(hosts)],
        admin_port=free_port(),
    )
    async with Envoy(bootstrap, tmp_path), httpx.AsyncClient() as client:
        assert (await client.get(f"http://127.1.2.3:{port}/")).text == "here"
        with pytest.raises(httpx.ConnectError):
            await client.get(f"http://127.0.0.1:{port}/")


# --- Clusters ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("origination", "protocol", "status"),
    [
        (TlsOrigination(), UpstreamProtocol.HTTP1, 200),
        (TlsOrigination(validation=Validation("cas")), UpstreamProtocol.HTTP1, 200),
        (TlsOrigination(validation=Validation("other")), UpstreamProtocol.HTTP1, 503),
        (TlsOrigination(validation=Validation("cas"), match_request_host=True), UpstreamProtocol.HTTP1, 200),
        (
            TlsOrigination("a.example", validation=Validation("cas", subject_alternative_names=("a.example",))),
            UpstreamProtocol.DOWNSTREAM,
            200,
        ),
        (
            TlsOrigination("a.example", validation=Validation("cas", subject_alternative_names=("b.example",))),
            UpstreamProtocol.HTTP1,
            503,
        ),
    ],
)
async def test_tls_to_backends(
    origination: TlsOrigination, protocol: UpstreamProtocol, status: int, tmp_path: Path
) -> None:
    """To one that speaks TLS 1.3 only, which Envoy does not by itself."""
    certificates, others = Certificates(), Certificates()
    certificates.authority.issue_cert("a.example").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "a.pem"))

    def only_tls_1_3(_config: object, default: Any) -> ssl.SSLContext:
        context: ssl.SSLContext = default()
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        return context

    async with (
        Server("a", free_port(), ssl_certfile=str(tmp_path / "a.pem"), ssl_context_factory=only_tls_1_3) as server,
        running(
            tmp_path,
            [
                table([host("a.example", route(ANY, FORWARD))]),
                certificates.authorities("cas"),
                others.authorities("other"),
                *served_by(A, server.port, protocol=protocol, tls=origination),
            ],
            free_port(),
        ) as envoy,
    ):
        assert (await envoy.ask("/", "a.example")).status_code == status


@pytest.mark.parametrize("discovery", [Discovery.STRICT_DNS, Discovery.LOGICAL_DNS])
async def test_backends_found_by_name(discovery: Discovery, tmp_path: Path) -> None:
    async with (
        Server("a", free_port()) as server,
        running(
            tmp_path,
            [
                table([host("a.example", route(ANY, FORWARD))]),
                *served_by(A, server.port, "localhost", discovery=discovery),
            ],
            free_port(),
        ) as envoy,
    ):
        assert (await envoy.ask("/", "a.example")).json()["backend"] == "a"


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.istio_fields("DestinationRule.trafficPolicy.proxyProtocol.version")
async def test_proxy_protocol(version: int, tmp_path: Path) -> None:
    """A listener that expects it understands a cluster that speaks it, and nobody else."""
    port = free_port()
    behind = listeners.listener(Listener("behind", "127.0.0.1", port, (http_chain(),), (), proxy_protocol=True))
    hosts = [
        host("a.example", route(ANY, Forward((Destination(A),), host="b.example"))),
        host("b.example", route(ANY, DirectResponse(200, b"behind"))),
    ]
    resources = [table(hosts), behind, *served_by(A, port, proxy_protocol_version=version)]
    async with running(tmp_path, resources, free_port()) as envoy:
        assert (await envoy.ask("/", "a.example")).text == "behind"
        with pytest.raises(httpx.ReadError):
            await envoy.client.get(f"http://127.0.0.1:{port}/", headers={"host": "b.example"})
