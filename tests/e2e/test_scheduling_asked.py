"""What proxies ask the scheduler: a service in its place looks at it."""

import grpc
import grpc.aio
import httpx
import pytest
from e2e.objects import (
    FRONT,
    PROXY_LABELS,
    PROXY_NAMESPACE,
    gateway,
    http_server,
    resource,
    service,
    together,
    virtual_service,
)
from fairlead._pb.envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse
from fairlead.playground.envoy import free_port
from support.stack import Stack, until

pytestmark = pytest.mark.e2e

BACKEND = 9001
POLICY = """
rate_limiter:
  bucket_capacity: 1
  fill_amount: 1
  parameters: {interval: 1s}
  selectors:
  - {service: shop.default.svc.cluster.local, control_point: egress}
  - {service: any, control_point: egress, label_matcher: {match_labels: {%s: x}}}
"""


class Asked(grpc.GenericRpcHandler):
    def __init__(self) -> None:
        self.requests: list[CheckRequest] = []
        self.remaining: list[float] = []

    def service(self, details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[CheckRequest, CheckResponse]":
        return grpc.unary_unary_rpc_method_handler(
            self._check,
            request_deserializer=CheckRequest.FromString,
            response_serializer=CheckResponse.SerializeToString,
        )

    async def _check(
        self, request: CheckRequest, context: "grpc.aio.ServicerContext[CheckRequest, CheckResponse]"
    ) -> CheckResponse:
        self.requests.append(request)
        self.remaining.append(context.time_remaining())
        response = CheckResponse()
        response.ok_response.SetInParent()
        return response


async def test_proxies_tell_what_labels_need_and_no_secrets(stack: Stack) -> None:
    def objects(label: str) -> str:
        return together(
            FRONT,
            gateway(http_server()),
            service("shop", 80, BACKEND),
            virtual_service("shop", "shop.test", "http: [{route: [{destination: {host: shop}}]}]"),
            resource("istio.alibabacloud.com/v1", "RateLimitingPolicy", "rate", POLICY % label, "istio-system"),
        )

    asked = Asked()
    server = grpc.aio.server(handlers=[asked])
    port = free_port()
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    stack.write("objects.yaml", objects("http.path"))
    await stack.serve("--no-runtime", "--runtime-advertised-address", f"127.0.0.1:{port}")
    await stack.envoy(namespace=PROXY_NAMESPACE, labels=PROXY_LABELS)
    await stack.backend("shop", BACKEND)
    headers = {"host": "shop.test", "User-Type": "guest", "authorization": "Bearer x", "cookie": "a=b"}
    async with httpx.AsyncClient(trust_env=False) as http:

        async def told() -> dict[str, str]:
            assert (await http.get(f"http://{stack.address}:8080/a?b=c", headers=headers)).status_code == 200
            return dict(asked.requests[-1].attributes.request.http.headers)

        found = await told()
        assert found["user-type"] == "guest"
        assert not {"authorization", "cookie"} & found.keys()
        attributes = asked.requests[-1].attributes
        assert dict(attributes.context_extensions) == {"RateLimitingPolicy/istio-system/rate": "0,1"}
        request = attributes.request.http
        assert (request.method, request.path, request.host, request.scheme) == ("GET", "/a?b=c", "shop.test", "http")
        assert 14 < asked.remaining[-1] <= 15
        stack.write("objects.yaml", objects("http.request.header.authorization"))

        async def is_told() -> bool:
            return (await told()).get("authorization") == "Bearer x"

        await until(is_told, "what a policy asks for is told")
        assert "cookie" not in await told()
    await server.stop(None)
