"""What Gateways, VirtualServices, DestinationRules and ServiceEntries do to requests, on a real Envoy.

Most is asked of one large folder, the site: a host for each feature, a table of requests. What changes objects or stops
backends has a stack of its own.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import pytest
import pytest_asyncio
from e2e.objects import (
    FRONT,
    HTTP,
    HTTPS,
    PROXY_LABELS,
    PROXY_NAMESPACE,
    gateway,
    http_server,
    https_server,
    issued,
    route,
    secret,
    service,
    together,
)
from e2e.observing import problems
from e2e.site import AUTHORITY, TCP, A, B, Site, running_site
from fairlead.playground.client import ask, connect
from fairlead.playground.envoy import Envoy
from support.stack import Stack, handshake, until

pytestmark = pytest.mark.e2e


@pytest_asyncio.fixture(
    scope="module",
    loop_scope="module",
    params=[pytest.param(name, marks=pytest.mark.xdist_group(f"gateway-{name}")) for name in ("delta", "sotw")],
)
async def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    async with running_site(tmp_path_factory.mktemp("site"), request.param) as found:
        yield found


in_site = pytest.mark.asyncio(loop_scope="module")


# --- Requests ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """How a request shall end. In headers None stands for one that is not there."""

    status: int = 200
    backend: str | None = None
    """Who answers; empty for Envoy itself."""
    path: str | None = None
    """What the backend was asked for."""
    asked: dict[str, str | None] = field(default_factory=dict)
    """Headers of the request as the backend saw them."""
    headers: dict[str, str | None] = field(default_factory=dict)
    """Headers of the response."""
    body: str | None = None


ORIGIN = {"origin": "https://friend.test"}
PREFLIGHT = {**ORIGIN, "access-control-request-method": "PUT"}


def rule(name: str) -> Seen:
    """What match.test answers when the route of that name is taken."""
    return Seen(headers={"x-rule": name})


REQUESTS: dict[str, tuple[str, dict[str, str], Seen]] = {
    "no virtual service": ("GET nobody.test/", {}, Seen(404, "")),
    "no route": ("GET exact.test/other", {}, Seen(404, "")),
    "exact path": ("GET exact.test/productpage", {}, Seen(200, "one", "/productpage")),
    "exact path with a query": ("GET exact.test/productpage?u=1", {}, Seen(200, "one", "/productpage")),
    "wildcard host": ("GET any.deep.wild.test/", {}, Seen(200, "one")),
    "host before wildcard": ("GET special.wild.test/", {}, Seen(200, "two")),
    "wildcard is not its parent": ("GET wild.test/", {}, Seen(404, "")),
    "rewrite prefix": ("GET rewrite.test/old/x?q=1", {}, Seen(200, "one", "/new/x", {"host": "rewrite.test"})),
    "rewrite authority": ("GET rewrite.test/host", {}, Seen(200, "one", "/host", {"host": "inner.test"})),
    "rewrite both": ("GET rewrite.test/both", {}, Seen(200, "one", "/", {"host": "inner.test"})),
    "rewrite by regex": ("GET rewrite.test/users/7/cart", {}, Seen(200, "one", "/cart/of/7")),
    "redirect uri": ("GET redirect.test/uri", {}, Seen(302, "", headers={"location": "http://redirect.test/here"})),
    "redirect authority": (
        "GET redirect.test/authority?q=1",
        {},
        Seen(301, "", headers={"location": "http://other.test/authority?q=1"}),
    ),
    "redirect prefix": (
        "GET redirect.test/prefix/x",
        {},
        Seen(307, "", headers={"location": "http://redirect.test/newer/x"}),
    ),
    "redirect scheme": (
        "GET redirect.test/scheme",
        {},
        Seen(308, "", headers={"location": "https://redirect.test:8443/scheme"}),
    ),
    "direct text": ("GET direct.test/text", {}, Seen(418, "", body="short and stout")),
    "direct bytes": ("GET direct.test/bytes", {}, Seen(503, "", body="tip me over")),
    "direct without body": ("GET direct.test/empty", {}, Seen(204, "", body="")),
    "headers": (
        "GET headers.test/",
        {"x-remove": "me", "x-set": "old", "x-both": "some"},
        Seen(
            # Of a header that comes twice the backend shows the first: `add` has not replaced it.
            asked={"x-set": "new", "x-add": "more", "x-both": "some", "x-remove": None, "host": "inner.test"},
            headers={"x-backend": "hidden", "x-added": "later", "content-length": None},
        ),
    ),
    "timeout": ("GET timeout.test/delay/5", {}, Seen(504, "")),
    "within the timeout": ("GET timeout.test/", {}, Seen(200, "one")),
    "fault abort": ("GET fault.test/abort", {}, Seen(429, "", body="fault filter abort")),
    "fault of no request": ("GET fault.test/never", {}, Seen(200, "one")),
    "CORS preflight": (
        "OPTIONS cors.test/",
        PREFLIGHT,
        Seen(
            200,
            "",
            headers={
                "access-control-allow-origin": "https://friend.test",
                "access-control-allow-methods": "GET,PUT",
                "access-control-allow-headers": "x-asked",
                "access-control-max-age": "600",
                "access-control-allow-credentials": "true",
            },
        ),
    ),
    "CORS preflight of a regex": (
        "OPTIONS cors.test/",
        {**PREFLIGHT, "origin": "https://a.friend.test"},
        Seen(200, "", headers={"access-control-allow-origin": "https://a.friend.test"}),
    ),
    "CORS preflight of a stranger": (
        "OPTIONS cors.test/",
        {**PREFLIGHT, "origin": "https://stranger.test"},
        Seen(200, "one", headers={"access-control-allow-origin": None}),
    ),
    "CORS request": (
        "GET cors.test/",
        ORIGIN,
        Seen(
            200,
            "one",
            headers={"access-control-allow-origin": "https://friend.test", "access-control-expose-headers": "x-shown"},
        ),
    ),
    "match method": ("POST match.test/", {}, rule("method")),
    "match regex": ("GET match.test/42", {}, rule("regex")),
    "match regex as a whole": ("GET match.test/42a", {}, rule("none")),
    "match without case": ("GET match.test/CASE", {}, rule("case")),
    "match query": ("GET match.test/?version=2", {}, rule("query")),
    "match query by regex": ("GET match.test/?a=b&version=3.1", {}, rule("query")),
    "match other query": ("GET match.test/?version=4", {}, rule("none")),
    "match headers": ("GET match.test/", {"x-user": "jason", "x-end": "beta-2"}, rule("headers")),
    "match one of two headers": ("GET match.test/", {"x-user": "jason"}, rule("none")),
    "match header that is there": ("GET match.test/", {"x-there": ""}, rule("there")),
    "match without header": ("GET match.test/without", {}, rule("without")),
    "match with header": ("GET match.test/without", {"x-internal": "1"}, rule("none")),
    "match authority": ("GET match.test/authority", {}, rule("authority")),
    "match other scheme": ("GET match.test/scheme", {}, rule("none")),
    "virtual services: taken by one": ("GET shared.test/b", {}, Seen(200, "two")),
    "virtual services: by name": ("GET shared.test/b/c", {}, Seen(200, "two")),
    "virtual services: the last": ("GET shared.test/", {}, Seen(200, "one")),
    "https redirect": (
        "GET redirected.test/x",
        {},
        Seen(301, "", headers={"location": "https://redirected.test/x"}),
    ),
    "unknown service": ("GET unknown.test/", {}, Seen(503, "")),
    "upstream TLS": ("GET secure.test/", {}, Seen(200, "secure")),
    "service entry by DNS": ("GET dns.test/", {}, Seen(200, "resolved")),
}
"""Name -> what is asked, with which headers, and how it ends."""


@in_site
@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.istio_fields(
    "VirtualService.http[].match[].{uri.{exact,prefix,regex},ignoreUriCase,method,authority,scheme,headers{}.{exact,prefix},withoutHeaders{},queryParams{}.{exact,regex}}",
    "VirtualService.http[].rewrite.{uri,authority,uriRegexRewrite.{match,rewrite}}",
    "VirtualService.http[].redirect.{uri,authority,prefixRewrite,scheme,port,redirectCode}",
    "VirtualService.http[].directResponse.{status,body.{string,bytes}}",
    "VirtualService.http[].headers.{request,response}.{set{},add{},remove[]}",
    "VirtualService.http[].{timeout,fault.abort.{httpStatus,percentage}}",
    "VirtualService.http[].corsPolicy.{allowOrigins[],allowMethods[],allowHeaders[],exposeHeaders[],maxAge,allowCredentials}",
    "VirtualService.hosts[]",
    "Gateway.servers[].{hosts[],tls.httpsRedirect}",
    "DestinationRule.trafficPolicy.tls.{mode,credentialName,sni,subjectAltNames[]}",
    "ServiceEntry.{hosts[],resolution,ports[].{number,name,protocol},endpoints[].{address,ports{}}}",
)
async def test_request(site: Site, name: str) -> None:
    asked, headers, seen = REQUESTS[name]
    method, url = asked.split()
    host, _, path = url.partition("/")
    answer = await site.client.request(method, f"http://{host}:{HTTP}/{path}", headers=headers)
    assert answer.status_code == seen.status, answer.text
    if seen.backend is not None:
        assert answer.headers.get("x-backend", "") == seen.backend
    if seen.path is not None or seen.asked:
        arrived = answer.json()
        assert arrived["path"] == (seen.path or arrived["path"])
        assert {header: arrived["headers"].get(header) for header in seen.asked} == seen.asked
    assert {header: answer.headers.get(header) for header in seen.headers} == seen.headers
    if seen.body is not None:
        assert answer.text == seen.body


async def get(site: Site, url: str) -> tuple[int, str]:
    """Status, and what the answer says of itself: name of the backend, or text."""
    answer = await site.client.get(f"http://{url.replace('/', f':{HTTP}/', 1)}")
    return answer.status_code, answer.headers.get("x-backend", answer.text)


@in_site
async def test_nothing_of_the_site_is_ignored(site: Site) -> None:
    """Each field of its objects has an effect, or a problem that says why it has none."""
    told = {(problem["code"], problem["object"]) for problem in await problems(site.stack)}
    assert told == {("unknown-service", "VirtualService default/unknown.test")}


@in_site
async def test_no_route_is_told_by_the_proxy(site: Site) -> None:
    before = await site.counter("no_route$")
    assert (await get(site, "exact.test/elsewhere"))[0] == 404
    assert await site.counter("no_route$") == before + 1


@in_site
async def test_a_closed_backend_and_one_without_endpoints(site: Site) -> None:
    status, text = await get(site, "closed.test/")
    assert (status, "connect" in text) == (503, True), text
    assert await site.counter("cluster.outbound.80..closed.*upstream_cx_connect_fail$") > 0
    assert await get(site, "empty.test/") == (503, "no healthy upstream")


@in_site
@pytest.mark.istio_fields("VirtualService.http[].retries.{attempts,perTryTimeout,retryOn,backoff}")
async def test_retries(site: Site) -> None:
    one = site.backends["one"].requests

    async def attempts(path: str) -> tuple[int, list[str | None]]:
        """Status in the end, and the number of each attempt as the backend was told."""
        before = len(one)
        status, _ = await get(site, f"retries.test{path}")
        return status, [request["headers"].get("x-envoy-attempt-count") for request in one[before:]]

    assert await attempts("/status/503") == (503, ["1", "2", "3", "4"])
    assert await attempts("/status/429") == (429, ["1", "2", "3"])
    assert await attempts("/status/502") == (502, ["1"])
    # By default only failures are tried again that cannot have had an effect.
    assert await attempts("/status/500") == (500, ["1"])
    timeouts = "cluster.outbound.80..one.*upstream_rq_per_try_timeout$"
    before = await site.counter(timeouts)
    assert (await get(site, "retries.test/delay/2"))[0] == 504
    assert await site.counter(timeouts) == before + 2


@in_site
@pytest.mark.istio_fields("VirtualService.http[].fault.delay.{fixedDelay,percentage.value}")
async def test_a_delay_is_injected(site: Site) -> None:
    before = await site.counter("fault.delays_injected$")
    assert await get(site, "fault.test/delay") == (200, "one")
    assert await site.counter("fault.delays_injected$") == before + 1


@in_site
@pytest.mark.istio_fields("VirtualService.http[].mirror")
async def test_a_mirror_gets_a_copy(site: Site) -> None:
    def copies() -> list[str]:
        return [request["path"] for request in site.backends["copy"].requests if request["path"] == "/mirrored"]

    assert await get(site, "mirror.test/mirrored") == (200, "one")
    await until(copies, "the copy arrives")
    assert copies() == ["/mirrored"]
    assert site.backends["copy"].requests[-1]["headers"]["host"] == "mirror.test"


async def shares(ask_once: Callable[[], str], names: set[str]) -> Counter[str]:
    """Ask until all these have answered, 200 times at most, on a thread."""

    def many() -> Counter[str]:
        counted: Counter[str] = Counter()
        while counted.keys() != names and counted.total() < 200:
            counted[ask_once()] += 1
        return counted

    return await asyncio.to_thread(many)


@in_site
@pytest.mark.istio_fields("VirtualService.http[].route[].{weight,headers,destination.host}")
async def test_weights_and_headers_of_each_destination(site: Site) -> None:
    answers = [await site.client.get(f"http://weights.test:{HTTP}/") for _ in range(100)]
    counted = Counter(answer.headers["x-backend"] for answer in answers)
    assert counted.keys() == {"one", "two"}
    assert min(counted.values()) > 25, counted
    for answer in answers:
        name = answer.headers["x-backend"]
        assert (answer.headers["x-from"], answer.json()["headers"]["x-to"]) == (name, name)


@in_site
@pytest.mark.istio_fields("VirtualService.tcp[].route[].{weight,destination}")
async def test_weights_of_connections(site: Site) -> None:
    def over_a_new_connection() -> str:
        with contextlib.closing(connect(site.stack.address, TCP)) as connection:
            return ask(connection, "any.test", "/").backend

    assert (await shares(over_a_new_connection, {"one", "two"})).keys() == {"one", "two"}


@in_site
@pytest.mark.istio_fields("ServiceEntry.{resolution,endpoints[].{address,ports{}}}")
async def test_all_endpoints_of_a_service_entry_are_used(site: Site) -> None:
    with contextlib.closing(connect(site.stack.address, HTTP)) as connection:
        found = await shares(lambda: ask(connection, "static.test", "/").backend, {"one", "two"})
    assert found.keys() == {"one", "two"}


@in_site
@pytest.mark.istio_fields(
    "DestinationRule.trafficPolicy.outlierDetection.{consecutive5xxErrors,interval,baseEjectionTime,maxEjectionPercent,minHealthPercent}"
)
async def test_an_endpoint_that_fails_is_ejected_and_comes_back(site: Site) -> None:
    assert await get(site, "flaky.test/") == (200, "two")
    for _ in range(2):
        assert (await get(site, "flaky.test/status/500"))[0] == 500
    # All endpoints may be ejected, and no panic sends requests to them nevertheless.
    assert await get(site, "flaky.test/") == (503, "no healthy upstream")
    assert await site.counter("cluster.outbound.80..flaky.*outlier_detection.ejections_enforced_total$") == 1

    async def back() -> bool:
        return await get(site, "flaky.test/") == (200, "two")

    await until(back, "the endpoint is used again")


@in_site
@pytest.mark.istio_fields(
    "DestinationRule.trafficPolicy.connectionPool.{tcp.maxConnections,http.http1MaxPendingRequests}"
)
async def test_what_exceeds_the_connection_pool_is_refused(site: Site) -> None:
    assert await get(site, "narrow.test/") == (200, "two")  # opens the connection
    answers = await asyncio.gather(*(get(site, "narrow.test/delay/0.5") for _ in range(4)))
    refused = (503, "upstream connect error or disconnect/reset before headers. reset reason: overflow")
    assert Counter(answers) == {(200, "two"): 2, refused: 2}, "one is served, one waits"
    assert await site.counter("cluster.outbound.80..narrow.*upstream_rq_pending_overflow$") == 2


@in_site
@pytest.mark.istio_fields("DestinationRule.trafficPolicy.tls.credentialName")
async def test_an_upstream_certificate_of_another_authority_is_refused(site: Site) -> None:
    assert (await get(site, "distrusted.test/"))[0] == 503
    assert await site.counter("cluster.outbound.80..distrusted.*ssl.fail_verify_error$") > 0


@in_site
@pytest.mark.istio_fields("Gateway.servers[].tls.{mode,credentialName}")
async def test_two_gateways_share_a_port_for_https(site: Site) -> None:
    for host, pair, backend in (("a.test", A, "one"), ("b.test", B, "two")):
        assert await handshake(site.stack.address, HTTPS, host) == pair.certificate
        async with site.stack.client() as client:  # a connection of its own, which asks for this host
            answer = await client.get(f"https://{host}:{HTTPS}/")
        assert (answer.status_code, answer.headers["x-backend"]) == (200, backend)


# --- Stories ----------------------------------------------------------------------------------------------------------


async def curl(*arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        "curl", "-sS", *arguments, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0, output
    return output.decode()


@pytest.mark.parametrize("protocol", ["delta", "sotw"])
async def test_domains_are_added_one_by_one(stack: Stack, protocol: str) -> None:
    """HTTP for every host, then HTTPS for every host, then routes that leave something out, then no backend."""

    def objects(*servers: str, match: str = "prefix: /", host: str = "*") -> str:
        return together(gateway(*servers), route("page", host, "productpage", match=match))

    async def status(url: str, host: str = "") -> int:
        async with stack.client() as client:
            headers = {"host": host} if host else {}
            return (await client.get(url, headers=headers)).status_code

    page = f"http://www.aliyun.com:{HTTP}/productpage"
    stack.write("front.yaml", together(FRONT, service("productpage", 80, 9001)))
    stack.write("objects.yaml", objects(http_server()))
    await stack.serve()
    envoy = await stack.envoy(protocol, namespace=PROXY_NAMESPACE, labels=PROXY_LABELS)
    backend = await stack.backend("productpage", 9001)
    assert await status(page) == 200
    with pytest.raises(ConnectionRefusedError):
        await handshake(stack.address, HTTPS, "aliyun.com")

    certificate = issued("aliyun", "*.aliyun.com", issuer=AUTHORITY)
    stack.write("secret.yaml", secret("aliyun", certificate))
    stack.write("objects.yaml", objects(http_server(), https_server("*", "aliyun")))
    await until(lambda: handshake(stack.address, HTTPS, "aliyun.com"), "HTTPS is served")
    resolve = f"aliyun.com:{HTTPS}:{stack.address}"
    for version, line in (("--http1.1", "HTTP/1.1 200 OK"), ("--http2", "HTTP/2 200")):
        head = await curl("-k", "-I", version, "--resolve", resolve, f"https://aliyun.com:{HTTPS}/")
        assert head.splitlines()[0].strip() == line
        assert "server: istio-envoy" in head.splitlines()

    stack.write("objects.yaml", objects(http_server(), https_server("*", "aliyun"), match="exact: /productpage"))
    elsewhere = f"http://www.aliyun.com:{HTTP}/elsewhere"
    await until(lambda: _is(status(elsewhere), 404), "other paths have no route")
    assert await status(page) == 200

    stack.write("objects.yaml", objects(http_server(), https_server("*", "aliyun"), host="*.default.aliyun.com"))
    inside, outside = "helloworld-go.default.aliyun.com", "helloworld-go.default.example.com"
    url = f"https://{inside}:{HTTPS}/"
    await until(lambda: _is(status(url, outside), 404), "other hosts have no route")
    assert await status(url, inside) == 200

    await backend.stop()
    assert await status(url, inside) == 503
    assert sum((await envoy.stats("upstream_cx_connect_fail$")).values()) > 0
    stack.write("front.yaml", together(FRONT, service("productpage", 80, 9001).split("---")[0]))
    empty = "cluster.outbound.80..productpage.*membership_total$"
    await until(lambda: _is_nothing(envoy, empty), "no endpoint is left")
    assert await status(url, inside) == 503


async def _is(value: Awaitable[int], expected: int) -> bool:
    return await value == expected


async def _is_nothing(envoy: Envoy, pattern: str) -> bool:
    return sum((await envoy.stats(pattern)).values()) == 0
