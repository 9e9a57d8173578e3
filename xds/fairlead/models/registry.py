"""Which kinds are read, and what is said about those that are not."""

import difflib

from fairlead.models import asm, core, gateway_api
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
    asm.ASMCredential,
)
"""Every kind that is read."""

_BY_NAME = {(model.group, model.kind): model for model in KINDS}

_UNSUPPORTED = {
    "networking.istio.io": {"EnvoyFilter", "ProxyConfig", "WorkloadGroup"},
    "security.istio.io": {"AuthorizationPolicy", "PeerAuthentication", "RequestAuthentication"},
    "telemetry.istio.io": {"Telemetry"},
    "extensions.istio.io": {"TrafficExtension", "WasmPlugin"},
    "gateway.networking.k8s.io": {"BackendTLSPolicy", "GRPCRoute", "ListenerSet", "TCPRoute", "TLSRoute", "UDPRoute"},
    "gateway.networking.x-k8s.io": {"XBackend", "XBackendTrafficPolicy", "XListenerSet", "XMesh"},
    "istio.alibabacloud.com": {
        "ASMCircuitBreaker",
        "ASMGlobalRateLimiter",
        "ASMKnativeConfig",
        "ASMLocalRateLimiter",
        "IstioGateway",
        "QuotaSchedulingPolicy",
    },
    "networking.internal.knative.dev": {"Ingress"},
    "serving.knative.dev": {"Service"},
}
"""Groups whose kinds decide about traffic: kinds of them that are not read are worth a word, a Deployment is not."""


def model(group: str, kind: str) -> type[KubernetesObject] | None:
    """The model of a kind; None when the kind is not read."""
    return _BY_NAME.get((group, kind))


def unsupported(group: str, kind: str) -> Problem | None:
    """What to say about a kind without a model; None when the kind is none of our business."""
    known = _UNSUPPORTED.get(group)
    if known is None:
        # A mistyped group would make the object vanish without a word.
        similar = difflib.get_close_matches(group, [of for of, name in _BY_NAME if name == kind and of], 1, 0.8)
        if not similar:
            return None
        return warning(
            "unsupported-kind",
            f"{kind} is a kind of {similar[0]}, not of {group}; the object is not served",
            path=("apiVersion",),
            hint=f"did you mean {similar[0]}/{_BY_NAME[similar[0], kind].versions[0]}?",
        )
    if kind in known:
        return warning(
            "unsupported-kind", f"{kind} of {group} is not supported yet; the object is not served", path=("kind",)
        )
    similar = difflib.get_close_matches(kind, [name for of, name in _BY_NAME if of == group], 1)
    return warning(
        "unsupported-kind",
        f"{kind} is no kind of {group} that is read; the object is not served",
        path=("kind",),
        hint=f"did you mean {similar[0]}?" if similar else "",
    )
