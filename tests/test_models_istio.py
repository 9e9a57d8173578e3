"""Every field of Istio's networking kinds is read under its name in the API."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
import yaml
from fairlead.models.base import Duration, KubernetesObject, Model
from fairlead.models.decode import decode, decode_leniently
from fairlead.models.istio.destination_rule import DestinationRule
from fairlead.models.istio.gateway import Gateway, ServerTLSMode
from fairlead.models.istio.mesh_config import MeshConfig
from fairlead.models.istio.proxy_config import ConnectionSettings, ProxyConfig, ProxyHeaders
from fairlead.models.istio.service_entry import Resolution, ServiceEntry
from fairlead.models.istio.sidecar import CaptureMode, Sidecar
from fairlead.models.istio.virtual_service import RedirectPortSelection, StringMatch, VirtualService
from fairlead.models.istio.workload_entry import WorkloadEntry
from fairlead.problems import Problem

MANIFESTS = Path(__file__).parent / "manifests"
KINDS = [Gateway, VirtualService, DestinationRule, ServiceEntry, WorkloadEntry, Sidecar]
SECOND = 1_000_000_000

T = TypeVar("T", bound=KubernetesObject)


def read(data: dict[str, Any], kind: type[T]) -> T:
    """An object that is decoded without a word."""
    decoded = decode(data)
    assert decoded.problems == ()
    assert type(decoded.object) is kind
    return decoded.object


def every_field(kind: type[T]) -> T:
    """The manifest of a kind in which no field is left out."""
    return read(yaml.safe_load((MANIFESTS / f"every-field-{kind.kind}.yaml").read_text()), kind)


def minimal(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": {"name": "a"}, "spec": spec}


def structs(value: Any) -> Iterator[Model]:
    """A value's structs, itself included."""
    if isinstance(value, Model):
        yield value
    if isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from structs(getattr(value, name))
    elif isinstance(value, tuple):
        for item in value:
            yield from structs(item)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from structs(item)


def is_default(struct: Model, field: msgspec.structs.FieldInfo) -> bool:
    value = getattr(struct, field.name)
    if field.default_factory is not msgspec.NODEFAULT:
        return bool(value == field.default_factory())
    return field.default is not msgspec.NODEFAULT and bool(value == field.default)


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_is_read(kind: type[KubernetesObject]) -> None:
    """The manifests use the API's names; a field of a model that none of them sets would be ours alone."""
    unset: dict[type[Model], set[str]] = {}
    for struct in structs(every_field(kind)):
        defaults = {field.encode_name for field in msgspec.structs.fields(struct) if is_default(struct, field)}
        unset[type(struct)] = unset.get(type(struct), defaults) & defaults
    # These are read in full in the manifests of the kinds that they belong to.
    elsewhere = {"ServerTLSSettings", "ConnectionPoolSettings", "TCPSettings", "HTTPSettings", "Destination"}
    assert {
        struct.__name__: names
        for struct, names in unset.items()
        if names and not (kind is Sidecar and struct.__name__ in elsewhere)
    } == {}


def every_field_of_the_mesh() -> tuple[MeshConfig, tuple[Problem, ...]]:
    data = yaml.safe_load((MANIFESTS / "mesh-config.yaml").read_text())
    return decode_leniently(MeshConfig, data, ())


def test_every_field_of_the_mesh_config_is_known() -> None:
    found, problems = every_field_of_the_mesh()
    assert {problem.code for problem in problems} == {"unsupported-field"}
    models = [MeshConfig, ProxyConfig, ProxyHeaders, ConnectionSettings]
    assert sorted(str(problem.path[-1]) for problem in problems) == sorted(
        name for model in models for name in model.unsupported
    )
    ours = [
        model for model in map(type, structs(found)) if model.__module__.endswith((".mesh_config", ".proxy_config"))
    ]
    for struct in structs(found):
        if type(struct) in ours:
            unset = {field.encode_name for field in msgspec.structs.fields(struct) if is_default(struct, field)}
            assert unset == set(), type(struct)


def test_every_struct_is_read() -> None:
    read_structs = {type(struct) for kind in KINDS for struct in structs(every_field(kind))}
    read_structs |= {type(struct) for struct in structs(every_field_of_the_mesh()[0])}
    ours = {model for model in Model.__subclasses__() if model.__module__.startswith("fairlead.models.istio.")}
    assert ours - read_structs == set()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("version", ["v1", "v1beta1", "v1alpha3"])
def test_all_versions_have_the_same_fields(kind: type[KubernetesObject], version: str) -> None:
    manifest = yaml.safe_load((MANIFESTS / f"every-field-{kind.kind}.yaml").read_text())
    assert read(manifest | {"apiVersion": f"networking.istio.io/{version}"}, kind) == every_field(kind)


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        (Gateway, {"servers": [{"port": {"number": 80, "protocol": "HTTP", "name": "http"}, "hosts": ["*"]}]}),
        (VirtualService, {"hosts": ["a.example.com"]}),
        (DestinationRule, {"host": "reviews"}),
        (ServiceEntry, {"hosts": ["a.example.com"]}),
        (WorkloadEntry, {}),
        (Sidecar, {"egress": [{"hosts": ["*/*"]}], "ingress": [{"port": {}}]}),
    ],
)
def test_only_required_fields_have_to_be_set(kind: type[KubernetesObject], spec: dict[str, Any]) -> None:
    read(minimal(kind.kind, spec), kind)


def test_gateway() -> None:
    server = every_field(Gateway).spec.servers[0]
    assert server.port.target_port == 8443
    assert server.tls is not None
    assert server.tls.mode is ServerTLSMode.OPTIONAL_MUTUAL
    assert server.tls.insecure_skip_verify is True
    assert server.tls.tls_certificates[0].private_key == "/etc/certs/rsa-key.pem"


def test_tls_of_a_server_passes_through_unless_it_says_more() -> None:
    port = {"number": 80, "protocol": "HTTP", "name": "http"}
    spec = {"servers": [{"port": port, "hosts": ["*"], "tls": {"httpsRedirect": True}}]}
    tls = read(minimal("Gateway", spec), Gateway).spec.servers[0].tls
    assert tls is not None
    assert (tls.mode, tls.insecure_skip_verify) == (ServerTLSMode.PASSTHROUGH, None)


def test_virtual_service() -> None:
    route = every_field(VirtualService).spec.http[0]
    assert route.timeout == 5 * SECOND
    assert isinstance(route.timeout, Duration)
    assert route.match[0].without_headers == {"x-old": StringMatch()}
    assert route.redirect is not None
    assert route.redirect.derive_port is RedirectPortSelection.FROM_REQUEST_PORT
    assert route.direct_response is not None
    assert route.direct_response.body is not None
    assert route.direct_response.body.bytes_ == b"text"
    assert route.mirror_percentage is not None
    assert route.mirror_percentage.value == 12.5
    assert route.retries is not None
    assert (route.retries.retry_remote_localities, route.retries.retry_ignore_previous_hosts) == (True, False)


def test_destination_rule() -> None:
    policy = every_field(DestinationRule).spec.traffic_policy
    assert policy is not None
    assert policy.outlier_detection is not None
    assert policy.outlier_detection.consecutive_5xx_errors == 7
    assert policy.outlier_detection.base_ejection_time == 900 * SECOND
    assert policy.load_balancer is not None
    assert policy.load_balancer.locality_lb_setting is not None
    assert policy.load_balancer.locality_lb_setting.distribute[0].from_ == "us/*"
    assert policy.load_balancer.consistent_hash is not None
    assert policy.load_balancer.consistent_hash.http_cookie is not None
    assert policy.load_balancer.consistent_hash.http_cookie.ttl == 0
    ports = policy.port_level_settings
    assert [port.outlier_detection and port.outlier_detection.consecutive_5xx_errors for port in ports] == [0]


def test_zero_of_a_wrapped_number_is_not_its_absence() -> None:
    def outliers(values: dict[str, int]) -> int | None:
        spec = {"host": "reviews", "trafficPolicy": {"outlierDetection": values}}
        policy = read(minimal("DestinationRule", spec), DestinationRule).spec.traffic_policy
        assert policy is not None
        assert policy.outlier_detection is not None
        return policy.outlier_detection.consecutive_5xx_errors

    assert (outliers({}), outliers({"consecutive5xxErrors": 0})) == (None, 0)


def test_service_and_workload_entry() -> None:
    spec = every_field(ServiceEntry).spec
    assert spec.resolution is Resolution.DYNAMIC_DNS
    assert spec.endpoints[0].ports == {"http": 8081}
    assert spec.workload_selector is not None
    assert spec.workload_selector.labels == {"app": "db"}
    assert every_field(WorkloadEntry).spec.weight == 3


def test_sidecar() -> None:
    spec = every_field(Sidecar).spec
    assert (spec.ingress[0].capture_mode, spec.egress[0].capture_mode) == (CaptureMode.NONE, CaptureMode.IPTABLES)
    assert spec.outbound_traffic_policy is not None
    assert spec.outbound_traffic_policy.egress_proxy is not None
    assert spec.outbound_traffic_policy.egress_proxy.host == "proxy.example.com"


@pytest.mark.parametrize("number", [-1, 2**32])
def test_numbers_have_the_range_of_the_api(number: int) -> None:
    spec = {"hosts": ["a.example.com"], "ports": [{"number": number, "name": "http"}]}
    (problem,) = decode(minimal("ServiceEntry", spec)).problems
    assert problem.path == ("spec", "ports", 0, "number")


def test_equal_objects_are_equal_and_changed_ones_are_not() -> None:
    """What follows from an object is computed again only when the object has changed."""
    manifest = yaml.safe_load((MANIFESTS / "every-field-VirtualService.yaml").read_text())
    assert read(manifest, VirtualService) == every_field(VirtualService)
    manifest["spec"]["http"][0]["fault"]["delay"]["percent"] = 6
    assert read(manifest, VirtualService) != every_field(VirtualService)
