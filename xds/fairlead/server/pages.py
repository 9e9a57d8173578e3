"""What the admin endpoint shows besides health and status: metrics, and views for those who look for a fault.

The names of the views are istiod's. They show what the server offers; private keys are not among it.
"""

import json
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from fairlead.render.readable import readable
from fairlead.server.admin import NothingToShowError, Page
from fairlead.server.ads import XdsServer
from fairlead.server.connection import Connection
from fairlead.server.hub import Hub
from fairlead.server.metrics import CONTENT_TYPE, Metrics
from fairlead.server.report import server_status
from fairlead.snapshot import types
from fairlead.snapshot.resource import Resource
from fairlead.snapshot.table import Snapshot, Table

_Write = Callable[[], bytes]
_Query = Mapping[str, str]

_DUMPS = {
    types.CLUSTER: ("ClustersConfigDump", "dynamic_active_clusters", "cluster"),
    types.CLUSTER_LOAD_ASSIGNMENT: ("EndpointsConfigDump", "dynamic_endpoint_configs", "endpoint_config"),
    types.EXTENSION_CONFIG: ("EcdsConfigDump", "ecds_filters", "ecds_filter"),
    types.LISTENER: ("ListenersConfigDump", "dynamic_listeners", "listener"),
    types.ROUTE_CONFIGURATION: ("RoutesConfigDump", "dynamic_route_configs", "route_config"),
    types.SECRET: ("SecretsConfigDump", "dynamic_active_secrets", "secret"),
}
"""Type -> its message in Envoy's own `/config_dump` (envoy/admin/v3/config_dump_shared.proto), the list in that, and
the resource in an item of the list."""


def pages(hub: Hub, xds: XdsServer, metrics: Metrics) -> list[Page]:
    """The pages of a server."""

    def show_metrics(_: _Query) -> _Write:
        text = metrics.text()
        return lambda: text

    return [
        Page("/metrics", "metrics for Prometheus", show_metrics, CONTENT_TYPE),
        Page("/debug/syncz", "how far each proxy is with each type", lambda _: _syncz(hub, xds)),
        Page("/debug/connections", "the streams that are connected", lambda _: _connections(xds)),
        Page(
            "/debug/config_dump",
            "with ?proxy=ID: what that proxy is offered, as Envoy's own /config_dump shows it",
            lambda query: _config_dump(xds, query.get("proxy", "")),
        ),
        Page("/debug/endpointz", "the endpoints of all clusters", lambda _: _endpointz(hub)),
    ]


def _syncz(hub: Hub, xds: XdsServer) -> _Write:
    found = [
        {
            "proxy": proxy.id,
            "proxy_type": proxy.role,
            "namespace": proxy.namespace,
            **{name: {"state": kind.state.value, "acked": kind.version} for name, kind in proxy.types.items()},
        }
        for proxy in server_status(hub, xds).proxies
    ]
    return lambda: _json(found)


def _connections(xds: XdsServer) -> _Write:
    now, clock = time.time(), time.monotonic()
    found = [
        {
            "connectionId": f"{connection.node.id}-{connection.number}",
            "connectedAt": datetime.fromtimestamp(now - (clock - connection.connected_at), UTC).isoformat(),
            "address": connection.peer,
            "protocol": connection.variant.value,
            "watches": {
                types.SHORT_NAMES[type_url]: ["*"] * status.wildcard + sorted(status.names)
                for type_url, status in connection.stream.status().items()
            },
        }
        for connection in _in_order(xds)
    ]
    return lambda: _json({"totalClients": len(found), "clients": found})


def _config_dump(xds: XdsServer, proxy: str) -> _Write:
    known = [connection for connection in _in_order(xds) if connection.snapshot is not None]
    for connection in known:
        if connection.node.id == proxy and connection.snapshot is not None:
            return _dump(connection.snapshot)
    ids = sorted({connection.node.id for connection in known})
    raise NothingToShowError(f"no proxy {proxy!r} is connected; ask with ?proxy= and one of: {', '.join(ids[:100])}")


def _dump(snapshot: Snapshot) -> _Write:
    tables = {type_url: _resources(table) for type_url, table in snapshot.tables.items()}

    def write() -> bytes:
        hosts: dict[str, list[dict[str, Any]]] = {}
        for host in tables[types.VIRTUAL_HOST]:
            hosts.setdefault(host.name.rpartition("/")[0], []).append(readable(host))
        configs = []
        for type_url, (message, items, field) in _DUMPS.items():
            dumped = []
            for resource in tables[type_url]:
                body = {"@type": type_url, **readable(resource)}
                if type_url == types.ROUTE_CONFIGURATION and resource.name in hosts:
                    body["virtual_hosts"] = hosts[resource.name]
                state = {"version_info": resource.version, field: body}
                if type_url == types.LISTENER:
                    dumped.append({"name": resource.name, "active_state": state})
                else:
                    dumped.append({"name": resource.name, **state} if type_url == types.SECRET else state)
            configs.append({"@type": f"type.googleapis.com/envoy.admin.v3.{message}", items: dumped})
        return _json({"configs": configs})

    return write


def _endpointz(hub: Hub) -> _Write:
    tables = {group.snapshot.tables[types.CLUSTER_LOAD_ASSIGNMENT] for group in hub.groups}
    assignments = {resource for table in tables for resource in _resources(table)}

    def write() -> bytes:
        found = [readable(resource) for resource in sorted(assignments, key=lambda resource: resource.name)]
        return _json(found)

    return write


def _in_order(xds: XdsServer) -> Iterable[Connection]:
    return sorted(xds.connections, key=lambda connection: connection.number)


def _resources(table: Table) -> list[Resource]:
    """Those of a table, by name; what it holds later is not among them."""
    return [resource for name in sorted(table.names()) if (resource := table.get(name)) is not None]


def _json(value: object) -> bytes:
    return json.dumps(value, indent=2).encode() + b"\n"
