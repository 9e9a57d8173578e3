"""A service, a DestinationRule, a ServiceEntry, and the cluster that comes of them."""

from typing import Any

import yaml
from fairlead.intent import (
    Backend,
    Cluster,
)
from fairlead.problems import format_path
from fairlead.resolve import clusters
from fairlead.resolve.scope import Viewer
from fairlead.world import World
from support.worlds import world

SECOND = 1_000_000_000
HOST = "shop.default.svc.cluster.local"
BACKEND = Backend(HOST, 80)


def service(name: str = "shop", port_name: str = "http", **spec: Any) -> str:
    ports = [{"name": port_name, "port": 80}]
    return yaml.safe_dump(
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": ports, **spec}}
    )


def rule(policy: dict[str, Any] | None = None, host: str = "shop", **spec: Any) -> str:
    written = {"host": host, "trafficPolicy": policy or {}, **spec}
    return yaml.safe_dump(
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": "DestinationRule",
            "metadata": {"name": "rule"},
            "spec": written,
        }
    )


def entry(resolution: str = "DNS", *, host: str = "api.example.com", protocol: str = "HTTP", **spec: Any) -> str:
    ports = [{"number": 80, "name": "web", "protocol": protocol}]
    return yaml.safe_dump(
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": "ServiceEntry",
            "metadata": {"name": "api"},
            "spec": {"hosts": [host], "ports": ports, "resolution": resolution, **spec},
        }
    )


API = Backend("api.example.com", 80)


def found(made: World, backend: Backend = BACKEND) -> Cluster:
    outcome = clusters.cluster(made, Viewer("default"), backend)
    assert outcome.value is not None
    return outcome.value


def told(made: World, backend: Backend = BACKEND) -> list[str]:
    """`severity code path` of each problem, after a look at what every problem needs."""
    problems = clusters.cluster(made, Viewer("default"), backend).problems
    for problem in problems:
        assert problem.key is not None
        assert not problem.message.endswith(".")
    return [f"{problem.severity} {problem.code} {format_path(problem.path)}" for problem in problems]


def with_policy(**policy: Any) -> World:
    return world(service(), rule(policy))
