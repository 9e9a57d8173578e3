"""The generated Envoy messages work like any others, though they live in a descriptor pool of their own."""

import importlib
import pkgutil
from datetime import timedelta
from types import ModuleType

import pytest
from fairlead import _pb
from fairlead._pb.envoy.config.cluster.v3.cluster_pb2 import Cluster
from fairlead._pb.envoy.config.core.v3.base_pb2 import Metadata
from fairlead._pb.envoy.extensions.filters.http.router.v3.router_pb2 import Router
from fairlead._pb.envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    HttpFilter,
)
from fairlead._pb.envoy.service.discovery.v3.discovery_pb2 import DiscoveryResponse
from fairlead._pb.google.protobuf.any_pb2 import Any as AnyMessage
from fairlead._pb.google.protobuf.duration_pb2 import Duration
from fairlead._pb.google.protobuf.struct_pb2 import Struct
from google.protobuf import descriptor_pool, json_format, text_format


def generated_modules() -> list[ModuleType]:
    names = [info.name for info in pkgutil.walk_packages(_pb.__path__, _pb.__name__ + ".") if not info.ispkg]
    return [importlib.import_module(name) for name in names]


def test_every_module_registers_in_the_own_pool_only() -> None:
    """Well-known types included: a pool resolves names within itself."""
    modules = generated_modules()
    names = [module.DESCRIPTOR.name for module in modules]
    assert "google/protobuf/any.proto" in names
    assert "envoy/config/listener/v3/listener.proto" in names
    assert all(module.DESCRIPTOR.pool is _pb.POOL for module in modules)
    default = descriptor_pool.Default()
    for name in names:
        if not name.startswith("google/protobuf/"):  # those are in both pools, which is the point
            with pytest.raises(KeyError):
                default.FindFileByName(name)


def test_any_packs_and_unpacks() -> None:
    packed = AnyMessage()
    packed.Pack(Cluster(name="outbound|80||a.example"))
    assert packed.type_url == "type.googleapis.com/envoy.config.cluster.v3.Cluster"
    assert packed.Is(Cluster.DESCRIPTOR)
    unpacked = Cluster()
    assert packed.Unpack(unpacked)
    assert unpacked.name == "outbound|80||a.example"
    assert not packed.Unpack(Router())


def test_durations_convert() -> None:
    cluster = Cluster(connect_timeout=Duration(seconds=1, nanos=500_000_000))
    assert cluster.connect_timeout.ToTimedelta() == timedelta(seconds=1.5)
    cluster.connect_timeout.FromTimedelta(timedelta(milliseconds=250))
    assert cluster.connect_timeout.ToJsonString() == "0.250s"
    assert Cluster(connect_timeout=timedelta(milliseconds=250)) == cluster


def test_structs_convert() -> None:
    content = {"config": "a.yaml", "list": [1.0, None, {"deep": True}]}
    struct = Struct()
    struct.update(content)
    assert json_format.MessageToDict(struct) == content
    metadata = Metadata(filter_metadata={"istio": struct})
    assert metadata.filter_metadata["istio"]["list"][2]["deep"] is True


def test_json_and_text_look_into_any_with_the_pool() -> None:
    router = AnyMessage()
    router.Pack(Router(suppress_envoy_headers=True))
    manager = AnyMessage()
    manager.Pack(
        HttpConnectionManager(
            stat_prefix="in",
            stream_idle_timeout=Duration(seconds=3),
            http_filters=[HttpFilter(name="router", typed_config=router)],
        )
    )
    response = DiscoveryResponse(version_info="1", resources=[manager])

    written = json_format.MessageToDict(response, descriptor_pool=_pb.POOL)
    assert written["resources"] == [
        {
            "@type": f"type.googleapis.com/{HttpConnectionManager.DESCRIPTOR.full_name}",
            "statPrefix": "in",
            "streamIdleTimeout": "3s",
            "httpFilters": [
                {
                    "name": "router",
                    "typedConfig": {
                        "@type": f"type.googleapis.com/{Router.DESCRIPTOR.full_name}",
                        "suppressEnvoyHeaders": True,
                    },
                }
            ],
        }
    ]
    assert json_format.ParseDict(written, DiscoveryResponse(), descriptor_pool=_pb.POOL) == response

    text = text_format.MessageToString(response, descriptor_pool=_pb.POOL)
    assert "suppress_envoy_headers: true" in text
    assert text_format.Parse(text, DiscoveryResponse(), descriptor_pool=_pb.POOL) == response


def test_unknown_fields_survive() -> None:
    """A message of a newer Envoy is passed on as it came."""
    newer = Cluster(name="a").SerializeToString() + b"\xfa\xff\x03\x01x"  # field 8191, length 1
    assert Cluster.FromString(newer).SerializeToString() == newer
