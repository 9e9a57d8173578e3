"""Problems of limits and breakers."""

from fairlead.check.catalogue.entry import Entry, Subject

SUBJECT = Subject(
    "limits",
    "Limits of requests, breakers",
    (
        Entry(
            "limit-without-effect",
            "proxies have no such virtual host or route, or another limit for the same comes first",
            "Nothing is limited by it, and no circuit opens.",
            "Correct the name or the port: a host of the VirtualService, the port of the Gateway's server.",
        ),
        Entry(
            "no-matching-proxy",
            "no Gateway tells of proxies with these labels in the namespace of the object",
            "It has no effect, unless there are such proxies after all.",
            "Write the object into the namespace of the proxies, with labels that they have.",
        ),
        Entry(
            "not-grpc",
            "a rate limit service whose port is not said to speak gRPC",
            "Proxies would call it by HTTP/1.1, and get no answer.",
            "Name the port of the Service `grpc`, or give it `appProtocol: grpc`; a ServiceEntry's, `protocol: GRPC`.",
        ),
    ),
)
