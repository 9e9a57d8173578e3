"""A large folder with a host for each feature of routes and backends, and all that it needs to run.

Tests share it, so each of them has hosts, and where it matters services, of its own.
"""

import base64
import contextlib
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

from e2e.objects import (
    FRONT,
    PROXY_LABELS,
    PROXY_NAMESPACE,
    destination_rule,
    gateway,
    http_server,
    https_server,
    issued,
    resource,
    secret,
    service,
    together,
    virtual_service,
)
from fairlead.playground.backend import Backend
from fairlead.playground.envoy import Envoy, free_port
from support.stack import Client, Stack

AUTHORITY = issued("Test CA")
A = issued("a", "a.test", issuer=AUTHORITY)
B = issued("b", "b.test", issuer=AUTHORITY)
INSIDE = issued("inside", "inside.test", issuer=AUTHORITY)
TCP = 9100
ONE, TWO, COPY, SECURE = 9001, 9002, 9003, 9004
CLOSED = 9099
"""A port that nobody listens on."""


def to(host: str) -> str:
    return f"route: [{{destination: {{host: {host}}}}}]"


HOSTS = {
    "rewrite.test": f"""
        - {{match: [{{uri: {{prefix: /old}}}}], rewrite: {{uri: /new}}, {to("one")}}}
        - {{match: [{{uri: {{prefix: /host}}}}], rewrite: {{authority: inner.test}}, {to("one")}}}
        - match: [{{uri: {{prefix: /both}}}}]
          rewrite: {{uri: /, authority: inner.test}}
          {to("one")}
        - match: [{{uri: {{prefix: /users}}}}]
          rewrite: {{uriRegexRewrite: {{match: "^/users/([0-9]+)/(.*)$", rewrite: '/\\2/of/\\1'}}}}
          {to("one")}
    """,
    "redirect.test": """
        - {match: [{uri: {exact: /uri}}], redirect: {uri: /here, redirectCode: 302}}
        - {match: [{uri: {exact: /authority}}], redirect: {authority: other.test}}
        - {match: [{uri: {prefix: /prefix}}], redirect: {prefixRewrite: /newer, redirectCode: 307}}
        - {match: [{uri: {exact: /scheme}}], redirect: {scheme: https, port: 8443, redirectCode: 308}}
    """,
    "direct.test": """
        - {match: [{uri: {exact: /text}}], directResponse: {status: 418, body: {string: short and stout}}}
        - {match: [{uri: {exact: /bytes}}], directResponse: {status: 503, body: {bytes: dGlwIG1lIG92ZXI=}}}
        - {match: [{uri: {exact: /empty}}], directResponse: {status: 204}}
    """,
    "headers.test": f"""
        - {to("one")}
          headers:
            request: {{set: {{x-set: new, host: inner.test}}, add: {{x-add: more, x-both: more}}, remove: [x-remove]}}
            response: {{set: {{x-backend: hidden}}, add: {{x-added: later}}, remove: [content-length]}}
    """,
    "weights.test": """
        - route:
          - destination: {host: one}
            weight: 50
            headers: {request: {set: {x-to: one}}, response: {set: {x-from: one}}}
          - destination: {host: two}
            weight: 50
            headers: {request: {set: {x-to: two}}, response: {set: {x-from: two}}}
          - {destination: {host: copy}, weight: 0}
    """,
    "timeout.test": f"- {{timeout: 200ms, {to('one')}}}",
    "retries.test": f"""
        - match: [{{uri: {{prefix: /status/503}}}}]
          retries: {{attempts: 3, retryOn: 5xx, backoff: 1ms}}
          {to("one")}
        - match: [{{uri: {{prefix: /status/429}}}}]
          retries: {{attempts: 2, retryOn: "429", backoff: 1ms}}
          {to("one")}
        - match: [{{uri: {{prefix: /delay}}}}]
          retries: {{attempts: 1, perTryTimeout: 100ms, retryOn: 5xx}}
          {to("one")}
        - {{match: [{{uri: {{prefix: /status/500}}}}], {to("one")}}}
        - {{match: [{{uri: {{prefix: /status/502}}}}], retries: {{attempts: 0}}, {to("one")}}}
    """,
    "fault.test": f"""
        - match: [{{uri: {{exact: /abort}}}}]
          fault: {{abort: {{httpStatus: 429, percentage: {{value: 100}}}}}}
          {to("one")}
        - match: [{{uri: {{exact: /never}}}}]
          fault: {{abort: {{httpStatus: 429, percentage: {{value: 0}}}}}}
          {to("one")}
        - match: [{{uri: {{exact: /delay}}}}]
          fault: {{delay: {{fixedDelay: 50ms, percentage: {{value: 100}}}}}}
          {to("one")}
    """,
    "mirror.test": f"- {{mirror: {{host: copy}}, {to('one')}}}",
    "cors.test": f"""
        - corsPolicy:
            allowOrigins: [{{exact: "https://friend.test"}}, {{regex: "https://[a-z]+[.]friend[.]test"}}]
            allowMethods: [GET, PUT]
            allowHeaders: [x-asked]
            exposeHeaders: [x-shown]
            maxAge: 10m
            allowCredentials: true
          {to("one")}
    """,
    "match.test": f"""
        - match: [{{method: {{exact: POST}}}}]
          {to("one")}
          headers: {{response: {{set: {{x-rule: method}}}}}}
        - match: [{{uri: {{regex: "/[0-9]+"}}}}]
          {to("one")}
          headers: {{response: {{set: {{x-rule: regex}}}}}}
        - match: [{{uri: {{exact: /case}}, ignoreUriCase: true}}]
          {to("one")}
          headers: {{response: {{set: {{x-rule: case}}}}}}
        - match: [{{queryParams: {{version: {{exact: "2"}}}}}}, {{queryParams: {{version: {{regex: "3[.].*"}}}}}}]
          {to("one")}
          headers: {{response: {{set: {{x-rule: query}}}}}}
        - match: [{{headers: {{x-user: {{exact: jason}}, x-end: {{prefix: beta}}}}}}]
          {to("one")}
          headers: {{response: {{set: {{x-rule: headers}}}}}}
        - match: [{{headers: {{x-there: {{}}}}}}]
          {to("one")}
          headers: {{response: {{set: {{x-rule: there}}}}}}
        - match: [{{uri: {{prefix: /without}}, withoutHeaders: {{x-internal: {{}}}}}}]
          {to("one")}
          headers: {{response: {{set: {{x-rule: without}}}}}}
        - match: [{{uri: {{prefix: /authority}}, authority: {{regex: "match[.]test(:[0-9]+)?"}}}}]
          {to("one")}
          headers: {{response: {{set: {{x-rule: authority}}}}}}
        - match: [{{uri: {{prefix: /scheme}}, scheme: {{exact: https}}}}]
          {to("one")}
          headers: {{response: {{set: {{x-rule: scheme}}}}}}
        - {to("two")}
          headers: {{response: {{set: {{x-rule: none}}}}}}
    """,
    "closed.test": f"- {to('closed')}",
    "empty.test": f"- {to('empty')}",
    "unknown.test": f"- {to('no-such-service')}",
    "exact.test": f"- {{match: [{{uri: {{exact: /productpage}}}}], {to('one')}}}",
    "redirected.test": f"- {to('one')}",
    "flaky.test": f"- {{retries: {{attempts: 0}}, {to('flaky')}}}",
    "narrow.test": f"- {{retries: {{attempts: 0}}, {to('narrow')}}}",
    "secure.test": f"- {to('secure')}",
    "distrusted.test": f"- {to('distrusted')}",
    "static.test": f"- {to('static.external')}",
    "dns.test": f"- {to('dns.external')}",
    "a.test": f"- {to('one')}",
    "b.test": f"- {to('two')}",
    "*.wild.test": f"- {to('one')}",
    "special.wild.test": f"- {to('two')}",
}
"""Host -> `http` of its VirtualService."""

SHARED = (
    # Of equal age: they are tried by name, and whoever takes everything comes last.
    virtual_service("shared-a", "shared.test", f"http: [{{{to('one')}}}]"),
    virtual_service("shared-b", "shared.test", f"http: [{{match: [{{uri: {{prefix: /b}}}}], {to('two')}}}]"),
    virtual_service("shared-c", "shared.test", f"http: [{{match: [{{uri: {{prefix: /b/c}}}}], {to('copy')}}}]"),
)

SERVERS = (
    http_server("*"),
    https_server("a.test", "a"),
    f"""
  - port: {{number: {TCP}, name: tcp, protocol: TCP}}
    hosts: ["*"]""",
)
SECOND = gateway(
    https_server("b.test", "b", name="https-b"),
    """
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: [redirected.test]
    tls: {httpsRedirect: true}""",
    name="second",
)
EXTERNAL = """
hosts: [{host}]
location: MESH_EXTERNAL
resolution: {resolution}
ports: [{{number: 80, name: http, protocol: HTTP}}]
endpoints: [{endpoints}]
"""


def service_entry(host: str, resolution: str, *endpoints: str) -> str:
    spec = EXTERNAL.format(host=host, resolution=resolution, endpoints=", ".join(endpoints))
    return resource("networking.istio.io/v1", "ServiceEntry", host, spec)


def trusting(name: str, authority: bytes) -> str:
    """A DestinationRule for TLS to the service of that name, and the Secret with the CA that signs for it."""
    tls = f"tls: {{mode: SIMPLE, credentialName: {name}, sni: inside.test, subjectAltNames: [inside.test]}}"
    return together(
        destination_rule(name, tls),
        f"apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}-cacert, namespace: {PROXY_NAMESPACE}}}\n"
        f"data: {{cacert: {base64.b64encode(authority).decode()}}}",
    )


def site_objects(resolved_port: int) -> str:
    """All objects of the site; `resolved_port`: port of the backend on localhost."""
    services = {"one": ONE, "two": TWO, "copy": COPY, "closed": CLOSED, "flaky": TWO, "narrow": TWO, "secure": SECURE}
    return together(
        FRONT,
        *(service(name, 80, port) for name, port in (services | {"distrusted": SECURE}).items()),
        "apiVersion: v1\nkind: Service\nmetadata: {name: empty}\nspec: {ports: [{name: http, port: 80}]}",
        gateway(*SERVERS),
        SECOND,
        *(
            virtual_service(
                host.replace("*", "any"),
                host,
                f"http:\n{textwrap.indent(textwrap.dedent(http).strip(), '  ')}",
                gateways="second" if host in ("b.test", "redirected.test") else "edge",
            )
            for host, http in HOSTS.items()
        ),
        *SHARED,
        virtual_service(
            "tcp",
            "*",
            "tcp: [{route: [{destination: {host: one}, weight: 50}, {destination: {host: two}, weight: 50}]}]",
        ),
        destination_rule(
            "flaky",
            "outlierDetection: {consecutive5xxErrors: 2, interval: 100ms, baseEjectionTime: 500ms, "
            "maxEjectionPercent: 100}",
        ),
        destination_rule("narrow", "connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1}}"),
        trusting("secure", AUTHORITY.certificate_pem),
        trusting("distrusted", issued("Other CA").certificate_pem),
        secret("a", A),
        secret("b", B),
        service_entry(
            "static.external",
            "STATIC",
            *(f"{{address: 127.0.0.1, ports: {{http: {port}}}}}" for port in (ONE, TWO)),
        ),
        service_entry("dns.external", "DNS", f"{{address: localhost, ports: {{http: {resolved_port}}}}}"),
    )


class Site:
    """A running stack of all objects above, shared by the tests below, each of which has hosts of its own."""

    def __init__(self, stack: Stack, envoy: Envoy, backends: dict[str, Backend], client: Client) -> None:
        self.stack = stack
        self.envoy = envoy
        self.backends = backends
        self.client = client

    async def counter(self, pattern: str) -> int:
        """Sum of Envoy's counters and gauges whose names match."""
        return sum((await self.envoy.stats(pattern)).values())


@contextlib.asynccontextmanager
async def running_site(folder: Path, protocol: str) -> AsyncIterator[Site]:
    """The site, served to an Envoy that speaks this variant of the protocol."""
    async with contextlib.AsyncExitStack() as exits:
        stack = await exits.enter_async_context(Stack(folder))
        resolved = await exits.enter_async_context(Backend("resolved", free_port()))
        stack.write("objects.yaml", site_objects(resolved.port))
        await stack.serve()
        envoy = await stack.envoy(protocol, namespace=PROXY_NAMESPACE, labels=PROXY_LABELS)
        pem = stack.tmp_path / "inside.pem"
        pem.write_bytes(INSIDE.certificate_pem + INSIDE.key_pem.reveal())
        backends = {
            name: await stack.backend(name, port) for name, port in (("one", ONE), ("two", TWO), ("copy", COPY))
        }
        backends["secure"] = await stack.backend("secure", SECURE, ssl_certfile=pem, ssl_keyfile=pem)
        client = await exits.enter_async_context(stack.client())
        yield Site(stack, envoy, backends | {"resolved": resolved}, client)
