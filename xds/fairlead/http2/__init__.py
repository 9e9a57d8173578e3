"""gRPC over HTTP/2 for servers, as lean as Python allows: a fleet of proxies costs what its bytes cost.

- `frames`: the parts of RFC 9113 that are bytes: frames, settings, error codes, header blocks.
- `connection`: one connection and what holds for all its streams: settings, flow control, pings, limits.
- `call`: one stream as a gRPC call: messages in, messages out, a status at the end.
- `server`: listening, dispatch of calls, and the end of it all.
"""
