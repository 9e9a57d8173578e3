"""Hosts of requests that the proxy resolves itself: an HTTP filter does it, for the cluster that then connects.

Both find each other by the name of a DNS cache, whose settings have to be equal
(https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/dynamic_forward_proxy_filter).
"""

from fairlead._pb.envoy.config.cluster.v3 import cluster_pb2
from fairlead._pb.envoy.extensions.clusters.dynamic_forward_proxy.v3 import cluster_pb2 as dynamic_cluster_pb2
from fairlead._pb.envoy.extensions.common.dynamic_forward_proxy.v3 import dns_cache_pb2
from fairlead._pb.envoy.extensions.filters.http.dynamic_forward_proxy.v3 import dynamic_forward_proxy_pb2
from fairlead.intent import Nanoseconds
from fairlead.render.encoding import duration

CLUSTER_TYPE = "envoy.clusters.dynamic_forward_proxy"
FILTER = "envoy.filters.http.dynamic_forward_proxy"


def cluster_config(refresh_rate: Nanoseconds) -> dynamic_cluster_pb2.ClusterConfig:
    """The type of the cluster."""
    return dynamic_cluster_pb2.ClusterConfig(dns_cache_config=_dns_cache(refresh_rate))


def filter_config(refresh_rate: Nanoseconds) -> dynamic_forward_proxy_pb2.FilterConfig:
    """The filter; it does nothing for requests to other clusters."""
    return dynamic_forward_proxy_pb2.FilterConfig(dns_cache_config=_dns_cache(refresh_rate))


def _dns_cache(refresh_rate: Nanoseconds) -> dns_cache_pb2.DnsCacheConfig:
    return dns_cache_pb2.DnsCacheConfig(
        # Envoy keeps a cache as long as it lives, and refuses another one of the same name with other settings.
        name=f"hosts_of_requests_{refresh_rate}ns",
        dns_lookup_family=cluster_pb2.Cluster.V4_PREFERRED,
        dns_refresh_rate=duration(refresh_rate),
    )
