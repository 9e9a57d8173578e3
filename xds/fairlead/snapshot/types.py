"""The resource types, by the URLs that xDS names them with, in the order in which changes are sent.

Make before break: clusters and their endpoints first, what refers to them after; removals go the other way round
(https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#eventual-consistency-considerations).
"""

_PREFIX = "type.googleapis.com/"

CLUSTER = _PREFIX + "envoy.config.cluster.v3.Cluster"
CLUSTER_LOAD_ASSIGNMENT = _PREFIX + "envoy.config.endpoint.v3.ClusterLoadAssignment"
SECRET = _PREFIX + "envoy.extensions.transport_sockets.tls.v3.Secret"
LISTENER = _PREFIX + "envoy.config.listener.v3.Listener"
ROUTE_CONFIGURATION = _PREFIX + "envoy.config.route.v3.RouteConfiguration"
VIRTUAL_HOST = _PREFIX + "envoy.config.route.v3.VirtualHost"
EXTENSION_CONFIG = _PREFIX + "envoy.config.core.v3.TypedExtensionConfig"
"""A filter that a listener leaves to discovery."""
RUNTIME = _PREFIX + "envoy.service.runtime.v3.Runtime"
"""A layer of Envoy's runtime settings. Nothing is served under this type yet."""

SEND_ORDER = (
    CLUSTER,
    CLUSTER_LOAD_ASSIGNMENT,
    SECRET,
    EXTENSION_CONFIG,
    LISTENER,
    ROUTE_CONFIGURATION,
    VIRTUAL_HOST,
    RUNTIME,
)

SHORT_NAMES = {
    CLUSTER: "cds",
    CLUSTER_LOAD_ASSIGNMENT: "eds",
    SECRET: "sds",
    LISTENER: "lds",
    ROUTE_CONFIGURATION: "rds",
    VIRTUAL_HOST: "vhds",
    EXTENSION_CONFIG: "ecds",
    RUNTIME: "rtds",
}
"""Names for people and metrics."""
