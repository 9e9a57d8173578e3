"""Which kinds are read, and what is said about those that are not."""

import difflib

from fairlead.models import core, gateway_api
from fairlead.models.asm import circuit_breaker, credential, global_rate_limiter, local_rate_limiter, scheduling
from fairlead.models.base import KubernetesObject
from fairlead.models.istio import destination_rule, gateway, service_entry, sidecar, virtual_service, workload_entry
from fairlead.problems import Problem, warning

KINDS: tuple[type[KubernetesObject], ...] = (
    core.ConfigMap,
    core.EndpointSlice,
    core.Endpoints,
    core.Namespace,
    core.Pod,
    core.Secret,
    core.Service,
    gateway.Gateway,
    virtual_service.VirtualService,
    destination_rule.DestinationRule,
    service_entry.ServiceEntry,
    workload_entry.WorkloadEntry,
    sidecar.Sidecar,
    gateway_api.GatewayClass,
    gateway_api.Gateway,
    gateway_api.HTTPRoute,
    gateway_api.ReferenceGrant,
    credential.ASMCredential,
    global_rate_limiter.ASMGlobalRateLimiter,
    local_rate_limiter.ASMLocalRateLimiter,
    circuit_breaker.ASMCircuitBreaker,
    *scheduling.KINDS,
)
"""Every kind that is read."""

_BY_NAME = {(model.group, model.kind): model for model in KINDS}

_UNSUPPORTED = {
    "networking.istio.io": {"EnvoyFilter", "ProxyConfig", "WorkloadGroup"},
    "install.istio.io": {"IstioOperator"},
    "security.istio.io": {"AuthorizationPolicy", "PeerAuthentication", "RequestAuthentication"},
    "telemetry.istio.io": {"Telemetry"},
    "extensions.istio.io": {"TrafficExtension", "WasmPlugin"},
    "gateway.networking.k8s.io": {"BackendTLSPolicy", "GRPCRoute", "ListenerSet", "TCPRoute", "TLSRoute", "UDPRoute"},
    "gateway.networking.x-k8s.io": {"XBackend", "XBackendTrafficPolicy", "XListenerSet", "XMesh"},
    "istio.alibabacloud.com": {
        "ASMKnativeConfig",
        "AverageLatencySchedulingPolicy",
        "IstioGateway",
        "LoadRampingPolicy",
    },
    "networking.internal.knative.dev": {"Ingress"},
    "networking.k8s.io": {"Ingress"},
    "serving.knative.dev": {"Service"},
}
"""Groups whose kinds decide about traffic: kinds of them that are not read are worth a word, a Deployment is not."""

_MIXED_GROUPS = frozenset({"networking.k8s.io"})
"""Of these most kinds are none of our business."""

_NEAREST = {
    ("istio.alibabacloud.com", "AverageLatencySchedulingPolicy"): (
        "write a QuotaSchedulingPolicy with the rate that the service bears, or a ConcurrencySchedulingPolicy"
    ),
    ("istio.alibabacloud.com", "LoadRampingPolicy"): (
        "let a VirtualService send a weighted part of the requests, and raise the weight step by step"
    ),
    ("install.istio.io", "IstioOperator"): (
        "write its meshConfig into the ConfigMap istio of the namespace istio-system, under the key mesh"
    ),
    ("networking.istio.io", "ProxyConfig"): (
        "it configures the process of a proxy: give Envoy the option, or write it into its bootstrap"
    ),
    ("networking.istio.io", "WorkloadGroup"): (
        "write a WorkloadEntry for each workload, and outlierDetection in place of its probe"
    ),
    ("networking.k8s.io", "Ingress"): "write a Gateway and a VirtualService for it",
}
"""Kinds of which others do a part -> what to do."""


def model(group: str, kind: str) -> type[KubernetesObject] | None:
    """The model of a kind; None when the kind is not read."""
    return _BY_NAME.get((group, kind))


def unsupported(group: str, kind: str) -> Problem | None:
    """What to say about a kind without a model; None when the kind is none of our business."""
    if kind in _UNSUPPORTED.get(group, ()):
        message = f"{kind} of {group} is not supported yet; the object is not served"
        return warning("unsupported-kind", message, path=("kind",), hint=_NEAREST.get((group, kind), ""))
    if group not in _UNSUPPORTED or group in _MIXED_GROUPS:
        return _mistyped(group, kind)
    message = f"{kind} is no kind of {group} that is read; the object is not served"
    if elsewhere := [f"{of}/{_BY_NAME[of, name].versions[0]}" for of, name in _BY_NAME if name == kind and of]:
        message = f"{kind} is no kind of {group}; the object is not served"
        return warning(
            "unsupported-kind", message, path=("apiVersion",), hint=f"did you mean {' or '.join(elsewhere)}?"
        )
    similar = difflib.get_close_matches(kind, _kinds_of(group), 1)
    hint = f"did you mean {similar[0]}?" if similar else ""
    return warning("unsupported-kind", message, path=("kind",), hint=hint)


def _kinds_of(group: str) -> list[str]:
    return [kind for of, kind in _BY_NAME if of == group]


def _mistyped(group: str, kind: str) -> Problem | None:
    """What to say when a kind of another group is likely meant, which would vanish without a word."""
    groups = [of for of, name in _BY_NAME if name == kind and of]
    likely = difflib.get_close_matches(group, groups, 1, 0.8) if group else groups
    if likely:
        meant = " or ".join(f"{of}/{_BY_NAME[of, kind].versions[0]}" for of in likely)
        message = f"{kind} is no kind of {group or 'the core group'}; the object is not served"
        return warning("unsupported-kind", message, path=("apiVersion",), hint=f"did you mean {meant}?")
    similar = difflib.get_close_matches(kind, _kinds_of(group), 1, 0.8)
    if similar:
        message = f"{kind} is no kind that is read; the object is not served"
        return warning("unsupported-kind", message, path=("kind",), hint=f"did you mean {similar[0]}?")
    return None
