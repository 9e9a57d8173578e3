"""What gRPC reflection tells of the services that are served: Envoy's descriptors, which have a pool of their own."""

from google.protobuf.descriptor_pool import DescriptorPool


def envoy_pool() -> DescriptorPool:
    """The pool, with the services among its files: a file is in it once its module has been imported."""
    from fairlead import _pb
    from fairlead._pb.envoy.service.cluster.v3 import cds_pb2  # noqa: F401
    from fairlead._pb.envoy.service.discovery.v3 import ads_pb2  # noqa: F401
    from fairlead._pb.envoy.service.endpoint.v3 import eds_pb2  # noqa: F401
    from fairlead._pb.envoy.service.extension.v3 import config_discovery_pb2  # noqa: F401
    from fairlead._pb.envoy.service.listener.v3 import lds_pb2  # noqa: F401
    from fairlead._pb.envoy.service.route.v3 import rds_pb2  # noqa: F401
    from fairlead._pb.envoy.service.runtime.v3 import rtds_pb2  # noqa: F401
    from fairlead._pb.envoy.service.secret.v3 import sds_pb2  # noqa: F401
    from fairlead._pb.envoy.service.status.v3 import csds_pb2  # noqa: F401

    return _pb.POOL
