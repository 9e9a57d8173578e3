"""Messages of proxies with texts that are not in UTF-8: everything else of them is as it was sent."""

import pytest
from fairlead._pb.envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage
from fairlead._pb.envoy.service.ratelimit.v3.rls_pb2 import RateLimitRequest
from fairlead.runtime.decoding import decoded
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from support.runtime import asked


def with_text(text: str) -> RateLimitRequest:
    request = asked({"a": "1", "user": text}, {"b": "2"}, hits=300)
    request.descriptors[1].hits_addend.value = 2**60
    return request


@given(st.binary(min_size=1, max_size=40))
def test_one_text_harms_no_other(text: bytes) -> None:
    """The text stands where one of the same length was."""
    placeholder = "\x7f" * len(text)
    data = with_text(placeholder).SerializeToString().replace(placeholder.encode(), text)
    try:
        expected = text.decode()
    except UnicodeDecodeError:
        expected = "".join(chr(byte) if byte < 0x80 else "?" for byte in text)
    assert decoded(RateLimitRequest, data) == with_text(expected)


def test_a_log_with_a_strange_request() -> None:
    def message(name: str) -> StreamAccessLogsMessage:
        found = StreamAccessLogsMessage()
        for number in range(3):
            entry = found.http_logs.log_entry.add()
            entry.common_properties.custom_tags["fairlead.object"] = f"Kind a/{number}"
            entry.common_properties.start_time.seconds = 1_800_000_000
            entry.common_properties.sample_rate = 0.5
            entry.request.request_id = name if number == 1 else "fine"
            entry.request.request_headers["x"] = name
            entry.response.response_code.value = 429
        return found

    data = message("\x7f\x7f").SerializeToString().replace(b"\x7f\x7f", b"\xff\xc3")
    assert decoded(StreamAccessLogsMessage, data) == message("??")


@given(st.binary(max_size=60))
def test_any_bytes_are_a_message_or_none(data: bytes) -> None:
    for kind in (RateLimitRequest, StreamAccessLogsMessage):
        try:
            found = decoded(kind, data)
        except DecodeError:
            continue
        assert isinstance(found, kind)


@pytest.mark.parametrize(
    "data", [b"\x0a", b"\x0a\x05ab", b"\x0b", b"\x0a\xff", b"\x80" * 12, b"\x12\x09\x0a\x07\x0a\x01a"]
)
def test_what_is_no_message(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decoded(RateLimitRequest, data)
