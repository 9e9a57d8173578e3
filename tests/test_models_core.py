"""Kubernetes' own kinds, ASM's, and what the objects show of themselves."""

import base64
import json
from textwrap import dedent
from typing import TypeVar

import pytest
from fairlead.models import documents
from fairlead.models.asm.credential import ASMCredential, CredentialType
from fairlead.models.base import KubernetesObject, Pem
from fairlead.models.core import (
    ConfigMap,
    Endpoints,
    EndpointSlice,
    Namespace,
    Pod,
    Protocol,
    Secret,
    Service,
    ServiceType,
)
from fairlead.models.decode import decode
from rich.pretty import pretty_repr

T = TypeVar("T", bound=KubernetesObject)

KEY = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"


def read(kind: type[T], text: str) -> T:
    """An object about which there is nothing to say."""
    (item,) = documents.parse(dedent(text).encode()).items
    decoded = decode(item.data, item.problems)
    assert decoded.problems == ()
    assert isinstance(decoded.object, kind)
    return decoded.object


def test_service_as_kubernetes_returns_it() -> None:
    service = read(
        Service,
        """\
        apiVersion: v1
        kind: Service
        metadata:
          name: shop
          namespace: prod
          uid: 6a2b
          resourceVersion: "81"
          generation: 2
          managedFields: [{manager: kubectl}]
        spec:
          allocateLoadBalancerNodePorts: true
          clusterIP: 10.0.0.1
          clusterIPs: [10.0.0.1]
          externalTrafficPolicy: Cluster
          internalTrafficPolicy: Cluster
          ipFamilies: [IPv4]
          ipFamilyPolicy: SingleStack
          ports:
          - {name: http, port: 80, protocol: TCP, targetPort: 8080, nodePort: 30080, appProtocol: http}
          - {name: dns, port: 53, protocol: UDP, targetPort: dns}
          selector: {app: shop}
          sessionAffinity: None
          type: LoadBalancer
        status: {loadBalancer: {ingress: [{ip: 1.2.3.4}]}}
        """,
    )
    http, dns = service.spec.ports
    assert (http.port, http.target_port, http.node_port, http.app_protocol) == (80, 8080, 30080, "http")
    assert (dns.protocol, dns.target_port) == (Protocol.UDP, "dns")
    assert (service.spec.type, service.spec.cluster_ip) == (ServiceType.LOAD_BALANCER, "10.0.0.1")
    assert service.key == ("", "Service", "prod", "shop")


def test_endpoint_slice() -> None:
    found = read(
        EndpointSlice,
        """\
        apiVersion: discovery.k8s.io/v1
        kind: EndpointSlice
        metadata: {name: shop-x, labels: {kubernetes.io/service-name: shop}}
        addressType: IPv4
        endpoints:
        - addresses: [10.0.0.7]
          conditions: {ready: false, serving: true, terminating: true}
          hostname: shop-0
          nodeName: n1
          zone: z1
          hints: {forZones: [{name: z1}]}
          targetRef: {kind: Pod, name: shop-0, namespace: default, uid: 1b}
        - addresses: [10.0.0.8]
          conditions: {}
        ports: [{name: http, port: 8080, protocol: TCP}, {name: all, port: null}]
        """,
    )
    terminating, unknown = found.endpoints
    assert terminating.target_ref is not None
    assert (terminating.target_ref.name, terminating.zone, terminating.node_name) == ("shop-0", "z1", "n1")
    assert (terminating.conditions.ready, terminating.conditions.terminating) == (False, True)
    assert (unknown.conditions.ready, unknown.conditions.serving) == (None, None)
    assert [port.port for port in found.ports] == [8080, None]


def test_endpoints() -> None:
    found = read(
        Endpoints,
        """\
        apiVersion: v1
        kind: Endpoints
        metadata: {name: shop}
        subsets:
        - addresses: [{ip: 10.0.0.7, nodeName: n1, targetRef: {kind: Pod, name: shop-0}}]
          notReadyAddresses: [{ip: 10.0.0.8}]
          ports: [{name: http, port: 8080}]
        """,
    )
    (subset,) = found.subsets
    assert [address.ip for address in subset.addresses] == ["10.0.0.7"]
    assert [address.ip for address in subset.not_ready_addresses] == ["10.0.0.8"]


def test_pod_keeps_labels_and_address_only() -> None:
    pod = read(
        Pod,
        """\
        apiVersion: v1
        kind: Pod
        metadata: {name: shop-0, labels: {app: shop}}
        spec: {containers: [{name: main, image: shop}], anything: else}
        status: {podIP: 10.0.0.7, podIPs: [{ip: 10.0.0.7}], phase: Running, conditions: [{type: Ready}]}
        """,
    )
    assert (pod.metadata.labels, pod.status.pod_ip, pod.status.phase) == ({"app": "shop"}, "10.0.0.7", "Running")


def test_namespace_and_config_map() -> None:
    namespace = read(
        Namespace,
        """\
        apiVersion: v1
        kind: Namespace
        metadata: {name: a, labels: {b: c}}
        spec: {finalizers: [kubernetes]}
        """,
    )
    assert namespace.key == ("", "Namespace", "", "a")
    config = read(
        ConfigMap,
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: b}\nbinaryData: {c: aGk=}\nimmutable: true\n",
    )
    assert (config.data, config.binary_data) == ({"a": "b"}, {"c": b"hi"})


def test_string_data_of_a_secret_is_written_over_its_data() -> None:
    secret = read(
        Secret,
        """\
        apiVersion: v1
        kind: Secret
        metadata: {name: a}
        type: kubernetes.io/tls
        data:
          tls.crt: |
            aGVs
            bG8=
          tls.key: b2xk
        stringData: {tls.key: new}
        """,
    )
    assert secret.values == {"tls.crt": b"hello", "tls.key": b"new"}


@pytest.mark.parametrize(
    "written", [KEY, base64.b64encode(KEY.encode()).decode(), base64.encodebytes(KEY.encode()).decode()]
)
def test_credentials_of_asm_are_pem_or_base64_of_it(written: str) -> None:
    credential = read(
        ASMCredential,
        f"""\
        apiVersion: istio.alibabacloud.com/v1beta1
        kind: ASMCredential
        metadata: {{name: a}}
        spec: {{type: mtls, key: {json.dumps(written)}}}
        """,
    )
    assert credential.spec.key == KEY.encode()
    assert (credential.spec.type, credential.spec.cert) == (CredentialType.MTLS, b"")


def test_private_keys_are_in_no_repr() -> None:
    secret = read(
        Secret,
        f"""\
        apiVersion: v1
        kind: Secret
        metadata: {{name: a}}
        data: {{k: c2VjcmV0}}
        stringData: {{s: {json.dumps(KEY)}}}
        """,
    )
    credential = read(
        ASMCredential,
        f"""\
        apiVersion: istio.alibabacloud.com/v1
        kind: ASMCredential
        metadata: {{name: a}}
        spec: {{key: {json.dumps(KEY)}}}
        """,
    )
    for value in (secret, credential, Pem(b"secret")):
        for shown in (repr(value), str(value), f"{value}", pretty_repr(value)):
            assert not any(part in shown for part in ("PRIVATE KEY", "c2VjcmV0", "secret"))
