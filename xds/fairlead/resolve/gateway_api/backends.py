"""References to backends: what they mean, and whether they may be made."""

from dataclasses import dataclass

from fairlead.intent import Backend
from fairlead.models import core
from fairlead.models.gateway_api import BackendObjectReference
from fairlead.problems import FieldPath, ObjectKey
from fairlead.resolve import services
from fairlead.resolve.gateway_api.references import is_permitted
from fairlead.resolve.gateway_api.source import Source
from fairlead.resolve.scope import Viewer

SHARE_FAILS = "its share of the requests is answered with 500"
"""What comes of a backend that requests cannot be sent to."""


@dataclass(frozen=True, slots=True)
class BackendReader:
    """Finds the backends of a route, for proxies that see the same."""

    source: Source
    viewer: Viewer
    """The proxies as those who call services."""

    def read(self, reference: BackendObjectReference, path: FieldPath, effect: str) -> Backend | None:
        """The backend of a reference; None when there is none, and a Problem tells why and of the `effect`."""
        source = self.source
        namespace = reference.namespace or source.key.namespace
        target = ObjectKey(reference.group, reference.kind, namespace, reference.name)
        if (target.group, target.kind) != (core.Service.group, core.Service.kind):
            message = f"{effect}, InvalidKind: {target} is no Service"
            source.error("invalid-kind", message, (*path, "kind"), "name a Service")
            return None
        if not self._may_refer(target, path, effect):
            return None
        host = services.qualify(target.name, target.namespace)
        view = services.find(source.world, self.viewer.namespace, host)
        if view is None:
            message = (
                f"{effect}, BackendNotFound: there is no {target} for proxies in namespace {self.viewer.namespace}"
            )
            source.warn("unknown-service", message, path, "add the Service, or correct the name")
            return None
        if view.key.kind == core.Service.kind and not self._may_refer(view.key, path, effect):
            return None  # an ExternalName Service must not lead to where the route may not go itself
        port = reference.port or 0
        if view.port(port) is None:
            known = ", ".join(str(item.number) for item in view.ports) or "none"
            message = f"{effect}, BackendNotFound: {target} has no port {port}, its ports are {known}"
            source.warn("unknown-port", message, (*path, "port"), "name one of the ports of the Service")
            return None
        return services.backend(source.world, self.viewer.namespace, host, port, "", port)

    def _may_refer(self, target: ObjectKey, path: FieldPath, effect: str) -> bool:
        source = self.source
        if is_permitted(source.world, source.key, target):
            return True
        message = f"{effect}, RefNotPermitted: no ReferenceGrant shares {target} with {source.key.namespace}"
        hint = f"put a ReferenceGrant from {source.key.kind} in {source.key.namespace} into {target.namespace}"
        source.error("ref-not-permitted", message, path, hint)
        return False
