"""Problems of limits, and of other rules for requests."""

from fairlead.check.catalogue.entry import Entry, Subject

SUBJECT = Subject(
    "limits",
    "Limits, breakers and other rules for requests",
    (
        Entry(
            "no-matching-proxy",
            "no Gateway tells of proxies, or no Service of workloads, with these labels in the namespace of the object",
            "It is in force nowhere, unless there are such proxies after all.",
            "Write the object into the namespace of the proxies, with labels that they have.",
        ),
        Entry(
            "no-matching-request",
            "proxies have no such virtual host or route, or another object of the kind takes its requests",
            "It is in force for no request.",
            "Correct the name or the port: a host of the VirtualService, the port of the Gateway's server.",
        ),
        Entry(
            "not-grpc",
            "a rate limit service whose port is not said to speak gRPC",
            "Proxies would call it by HTTP/1.1, and get no answer.",
            "Name the port of the Service `grpc`, or give it `appProtocol: grpc`; a ServiceEntry's, `protocol: GRPC`.",
        ),
    ),
)
