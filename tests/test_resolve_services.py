"""Services: one view of Kubernetes Services and ServiceEntries, by host name and viewer."""

import pytest
from fairlead.intent import Backend
from fairlead.models import core
from fairlead.models.istio.service_entry import Resolution
from fairlead.resolve import services
from fairlead.resolve.services import PortProtocol
from fairlead.world import ObjectName, World
from support.worlds import put, world

SHOP = """
apiVersion: v1
kind: Service
metadata: {name: shop, namespace: web}
spec:
  ports:
  - {name: http, port: 80, targetPort: 8080}
  - {name: dns, port: 53, protocol: UDP}
"""
SHOP_HOST = "shop.web.svc.cluster.local"


def entry(name: str = "api", namespace: str = "web", *, host: str = "api.example.com", more: str = "") -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  hosts: ["{host}"]
  resolution: DNS
  ports: [{{name: http, number: 80}}]
  {more}
"""


def alias(name: str, target: str, ports: str = "[]") -> str:
    return f"""
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: web}}
spec: {{type: ExternalName, externalName: {target}, ports: {ports}}}
"""


@pytest.mark.parametrize(
    ("port", "protocol"),
    [
        ("{port: 8000}", PortProtocol.UNKNOWN),
        ("{port: 8000, name: web}", PortProtocol.UNKNOWN),
        ("{port: 8000, name: http}", PortProtocol.HTTP),
        ("{port: 8000, name: http-web}", PortProtocol.HTTP),
        ("{port: 8000, name: http2-web}", PortProtocol.HTTP2),
        ("{port: 8000, name: grpc}", PortProtocol.HTTP2),
        ("{port: 8000, name: grpc-web}", PortProtocol.HTTP2),
        ("{port: 8000, name: https}", PortProtocol.HTTPS),
        ("{port: 8000, name: tls-a}", PortProtocol.TLS),
        ("{port: 8000, name: mysql}", PortProtocol.TCP),
        ("{port: 8000, name: httpx}", PortProtocol.UNKNOWN),
        ("{port: 3306}", PortProtocol.TCP),
        ("{port: 3306, name: http}", PortProtocol.HTTP),
        ("{port: 8000, name: http, appProtocol: kubernetes.io/h2c}", PortProtocol.HTTP2),
        ("{port: 8000, appProtocol: kubernetes.io/ws}", PortProtocol.HTTP),
        ("{port: 8000, appProtocol: kubernetes.io/wss}", PortProtocol.HTTPS),
        ("{port: 8000, appProtocol: HTTP2}", PortProtocol.HTTP2),
        ("{port: 8000, name: http, appProtocol: example.com/own}", PortProtocol.UNKNOWN),
    ],
)
def test_the_protocol_of_a_service_port(port: str, protocol: PortProtocol) -> None:
    made = world(f"{{apiVersion: v1, kind: Service, metadata: {{name: a}}, spec: {{ports: [{port}]}}}}")
    view = services.find(made, "default", "a.default.svc.cluster.local")
    assert view is not None
    assert [found.protocol for found in view.ports] == [protocol]


@pytest.mark.istio_fields("ServiceEntry.ports[].{protocol,name}")
def test_a_service_entry_says_its_protocol_or_names_the_port_after_it() -> None:
    ports = "[{number: 1, name: a, protocol: GRPC}, {number: 2, name: tls-b}, {number: 3, name: c, protocol: UDP}]"
    made = world(entry().replace("[{name: http, number: 80}]", ports))
    view = services.find(made, "web", "api.example.com")
    assert view is not None
    assert [(port.number, port.protocol) for port in view.ports] == [(1, PortProtocol.HTTP2), (2, PortProtocol.TLS)]


@pytest.mark.parametrize(
    ("host", "full"),
    [
        ("shop", SHOP_HOST),
        ("Shop", SHOP_HOST),
        ("shop.web", "shop.web"),
        ("API.example.com", "api.example.com"),
        ("*", "*"),
        ("*.example.com", "*.example.com"),
        ("192.0.2.1", "192.0.2.1"),
        ("2001:DB8::1", "2001:db8::1"),
    ],
)
def test_short_names_are_of_the_own_namespace(host: str, full: str) -> None:
    assert services.qualify(host, "web") == full


def test_a_kubernetes_service() -> None:
    view = services.find(world(SHOP), "elsewhere", SHOP_HOST)
    assert view is not None
    assert (view.host, view.namespace, view.resolution) == (SHOP_HOST, "web", Resolution.STATIC)
    assert [(port.number, port.target_port) for port in view.ports] == [(80, 8080)]
    assert view.port(80) == view.ports[0]
    assert view.port(53) is None


@pytest.mark.parametrize(
    ("export_to", "viewers"),
    [
        ([], "web other third"),
        (["*"], "web other third"),
        (["."], "web"),
        (["other"], "other"),
        ([".", "other"], "web other"),
        (["~"], ""),
    ],
)
@pytest.mark.istio_fields("ServiceEntry.exportTo[]")
def test_who_sees_a_service(export_to: list[str], viewers: str) -> None:
    annotations = f'annotations: {{networking.istio.io/exportTo: "{", ".join(export_to)}"}}'
    quoted = [f'"{name}"' for name in export_to]
    made = world(
        SHOP.replace("namespace: web", f"namespace: web, {annotations}"),
        entry(more=f"exportTo: [{', '.join(quoted)}]"),
    )
    for host in (SHOP_HOST, "api.example.com"):
        seen = [viewer for viewer in ("web", "other", "third") if services.find(made, viewer, host) is not None]
        assert seen == viewers.split()


def test_the_name_of_a_service_cannot_be_taken_over() -> None:
    old = entry("intruder", "other", host=SHOP_HOST).replace("{name", "{creationTimestamp: 2001-01-01T00:00:00Z, name")
    made = world(old, SHOP)
    assert [key.kind for key in services.claimants(made, "web", SHOP_HOST)] == ["Service", "ServiceEntry"]
    view = services.find(made, "web", SHOP_HOST)
    assert view is not None
    assert view.key.kind == "Service"
    made.remove(core.Service, ObjectName("web", "shop"))
    view = services.find(made, "web", SHOP_HOST)
    assert view is not None
    assert view.key.name == "intruder"


@pytest.mark.parametrize(
    ("first", "second", "winner"),
    [
        ("{name: b, namespace: x}", "{name: a, namespace: y}", "a"),
        ("{name: a, namespace: y}", "{name: a, namespace: x}", "x"),
        (
            "{name: a, namespace: x, creationTimestamp: 2022-01-01T00:00:00Z}",
            "{name: b, namespace: x, creationTimestamp: 2021-01-01T00:00:00Z}",
            "b",
        ),
    ],
)
def test_of_two_entries_the_oldest_serves_then_the_first_by_name(first: str, second: str, winner: str) -> None:
    made = world(*(entry().replace("{name: api, namespace: web}", metadata) for metadata in (first, second)))
    key = services.claimants(made, "z", "api.example.com")[0]
    assert winner in (key.name, key.namespace)


def test_a_wildcard_entry_is_one_service_of_that_name() -> None:
    made = world(entry(host="*.Example.com"))
    assert services.find(made, "web", "a.example.com") is None
    assert services.find(made, "web", "*.example.com") is not None


def test_an_external_name_is_the_service_that_it_names() -> None:
    made = world(SHOP, alias("a", "b.web.svc.cluster.local"), alias("b", f"{SHOP_HOST}."))
    assert services.find(made, "web", "a.web.svc.cluster.local") == services.find(made, "web", SHOP_HOST)
    found = services.backend(made, "web", "a.web.svc.cluster.local", None, "v1", 9999)
    assert found == Backend(SHOP_HOST, 80, "v1")


def test_an_external_name_that_is_no_service_is_resolved_by_dns() -> None:
    view = services.find(world(alias("a", "example.com")), "web", "a.web.svc.cluster.local")
    assert view is not None
    assert (view.resolution, view.external_name) == (Resolution.DNS, "example.com")
    port = view.port(443)
    assert port is not None, "without a list of ports it has all"
    listed = services.find(world(alias("a", "example.com", "[{port: 80}]")), "web", "a.web.svc.cluster.local")
    assert listed is not None
    assert listed.port(443) is None


def test_external_names_in_a_circle_end() -> None:
    made = world(alias("a", "b.web.svc.cluster.local"), alias("b", "a.web.svc.cluster.local"))
    assert services.find(made, "web", "a.web.svc.cluster.local") is not None


TWO_PORTS = SHOP.replace("{name: dns, port: 53, protocol: UDP}", "{name: admin, port: 81}")


@pytest.mark.parametrize(
    ("service", "port", "expected"),
    [
        (SHOP, None, 80),
        (SHOP, 81, 81),
        (TWO_PORTS, None, 8080),
        (TWO_PORTS, 81, 81),
        ("", None, 8080),
        ("", 90, 90),
    ],
)
def test_the_port_of_a_destination(service: str, port: int | None, expected: int) -> None:
    found = services.backend(world(service), "web", SHOP_HOST, port, "v1", 8080)
    assert found == Backend(SHOP_HOST, expected, "v1")


def settled(*texts: str) -> World:
    made = world(*texts)
    assert services.find(made, "web", SHOP_HOST) is not None
    assert services.find(made, "web", "api.example.com") is not None
    made.graph.computed.clear()
    return made


def test_other_services_cost_nothing() -> None:
    made = settled(SHOP, entry())
    put(made, SHOP.replace("shop", "other"), entry("other", host="other.example.com"))
    services.find(made, "web", SHOP_HOST)
    services.find(made, "web", "api.example.com")
    assert not made.graph.computed


def test_an_edit_that_proxies_cannot_tell_stops_at_the_service() -> None:
    made = settled(SHOP, entry())
    put(made, entry(more="endpoints: [{address: a.example.com}]"))
    services.find(made, "web", SHOP_HOST)
    services.find(made, "web", "api.example.com")
    assert made.graph.computed == {"claimants": 1, "find": 1}
