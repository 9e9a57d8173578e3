"""Changes of headers."""

from fairlead._pb.envoy.config.core.v3 import base_pb2
from fairlead._pb.envoy.config.route.v3 import route_components_pb2
from fairlead.intent import HeaderOperations

_Option = base_pb2.HeaderValueOption
_NOTHING = HeaderOperations()


def write_headers(
    message: route_components_pb2.Route | route_components_pb2.WeightedCluster.ClusterWeight,
    request: HeaderOperations,
    response: HeaderOperations,
) -> None:
    """What happens to headers: first those that are replaced, then those that are appended, in the order given.

    The values are format strings of Envoy:
    https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/headers#custom-request-response-headers
    """
    if request != _NOTHING:
        message.request_headers_to_add.extend(_options(request))
        message.request_headers_to_remove.extend(filter(_may_change, request.remove))
    if response != _NOTHING:
        message.response_headers_to_add.extend(_options(response))
        message.response_headers_to_remove.extend(filter(_may_change, response.remove))


def _options(operations: HeaderOperations) -> list[base_pb2.HeaderValueOption]:
    return [
        *(_option(*header, _Option.OVERWRITE_IF_EXISTS_OR_ADD) for header in operations.set if _may_change(header[0])),
        *(_option(*header, _Option.APPEND_IF_EXISTS_OR_ADD) for header in operations.add if _may_change(header[0])),
    ]


def _may_change(name: str) -> bool:
    # Envoy refuses the whole RouteConfiguration otherwise; hosts are rewritten, not set.
    return not name.startswith(":") and name.lower() != "host"


def _option(name: str, value: str, action: base_pb2.HeaderValueOption.HeaderAppendAction) -> base_pb2.HeaderValueOption:
    # Without keep_empty_value Envoy would ignore a header that is set to nothing.
    return _Option(header=base_pb2.HeaderValue(key=name, value=value), append_action=action, keep_empty_value=not value)
