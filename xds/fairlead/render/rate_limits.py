"""Actions of rate limits: what of a request becomes an entry of the descriptor that it is counted by."""

from collections.abc import Iterable

from fairlead._pb.envoy.config.route.v3 import route_components_pb2
from fairlead._pb.google.protobuf import wrappers_pb2
from fairlead.intent import Condition
from fairlead.render.matches import header_matcher, query_parameter_matcher

Action = route_components_pb2.RateLimit.Action


def fixed(key: str, value: str) -> Action:
    """The same entry for all requests."""
    return Action(generic_key=Action.GenericKey(descriptor_key=key, descriptor_value=value))


def condition(key: str, value: str, expected: Condition) -> Action:
    """An entry for requests of which the condition is true; others have no descriptor."""
    expect_match = wrappers_pb2.BoolValue(value=expected.holds)
    if expected.requests.headers:
        return Action(
            header_value_match=Action.HeaderValueMatch(
                descriptor_key=key,
                descriptor_value=value,
                expect_match=expect_match,
                headers=map(header_matcher, expected.requests.headers),
            )
        )
    return Action(
        query_parameter_value_match=Action.QueryParameterValueMatch(
            descriptor_key=key,
            descriptor_value=value,
            expect_match=expect_match,
            query_parameters=map(query_parameter_matcher, expected.requests.query_parameters),
        )
    )


def values(headers: Iterable[str], query_parameters: Iterable[str], keys: Iterable[str]) -> list[Action]:
    """Entries with the values of headers, then of query parameters; requests without one have no descriptor."""
    remaining = iter(keys)
    return [
        *(
            Action(request_headers=Action.RequestHeaders(header_name=name, descriptor_key=next(remaining)))
            for name in headers
        ),
        *(
            Action(query_parameters=Action.QueryParameters(query_parameter_name=name, descriptor_key=next(remaining)))
            for name in query_parameters
        ),
    ]
