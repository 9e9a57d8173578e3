"""Which object a resource was made of, said where Istio says it, so that `istioctl proxy-config` shows it.

The form is `/apis/<group>/<version>/namespaces/<namespace>/<kind-in-kebab-case>/<name>`, under `config` of filter
metadata `istio`: https://istio.io/latest/docs/ops/diagnostic-tools/proxy-cmd
"""

import re
from functools import lru_cache

from fairlead._pb.envoy.config.core.v3 import base_pb2
from fairlead.intent import Origin
from fairlead.problems import ObjectKey

_WITHOUT_ROUTES = frozenset({"Service", "ServiceEntry", "Sidecar"})
"""Kinds for which routes are made that nobody has written; Istio names no object there."""
_VERSION = "v1"
"""Objects have all versions of their kinds at once; Istio says the newest."""


# A few thousand objects make most routes of a mesh. Who gets a message from here copies it.
@lru_cache(maxsize=4096)
def made_of(key: ObjectKey) -> base_pb2.Metadata:
    """Metadata that names the object."""
    kind = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", key.kind).lower()
    message = base_pb2.Metadata()
    path = f"/apis/{key.group}/{_VERSION}/namespaces/{key.namespace}/{kind}/{key.name}"
    message.filter_metadata["istio"].fields["config"].string_value = path
    return message


def is_route(origin: Origin) -> bool:
    """Whether somebody has written the route that comes from these objects."""
    return bool(origin) and origin[0].kind not in _WITHOUT_ROUTES
