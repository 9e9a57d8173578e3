"""Problems of services, endpoints and policies."""

from fairlead.check.catalogue.entry import Entry, Subject

SUBJECT = Subject(
    "services",
    "Services, endpoints and policies",
    (
        Entry(
            "ambiguous-hosts",
            "several hosts on a port where they cannot be told apart",
            "Connections to one of them may end at another.",
            "Give each a ServiceEntry with `addresses`, or a port of its own.",
        ),
        Entry(
            "duplicate-port",
            "several settings for one port; the first is used",
            "The others do nothing.",
            "Join them.",
        ),
        Entry(
            "duplicate-subset",
            "an older rule has a subset of that name",
            "Requests for the subset go to the endpoints of the older one.",
            "Give it another name.",
        ),
        Entry(
            "egress-order",
            "a listener without port has to be the last",
            "Those after it would never be used.",
            "Move it to the end.",
        ),
        Entry(
            "empty-policy",
            "a policy that says nothing",
            "It has no effect.",
            "Set something in it, or leave it out.",
        ),
        Entry(
            "empty-subset",
            "no endpoint has the subset's labels",
            "Requests for the subset are answered with 503.",
            "Correct the labels, or label the workloads.",
            istio="IST0173",
        ),
        Entry(
            "endpoint-port-mismatch",
            "no endpoint serves that port of the service",
            "Requests to the port are answered with 503.",
            "Give the ports of Service and EndpointSlice the same name.",
        ),
        Entry(
            "host-conflict",
            "two objects describe one host; the one that comes first serves",
            "The other one's endpoints and ports are not used.",
            "Keep one, or narrow `exportTo` so that no namespace sees both.",
        ),
        Entry(
            "ignored-endpoints",
            "endpoints that this kind of resolution does not use",
            "No request gets there.",
            "Use resolution STATIC or DNS, or remove them.",
        ),
        Entry(
            "missing-addresses",
            "a TCP port of a ServiceEntry without addresses is claimed by another one, too",
            "Without addresses, TCP connections are told apart by port only: one of the two gets those of the other.",
            "Give both `addresses`, or different ports.",
            istio="IST0134",
        ),
        Entry(
            "missing-hash-key",
            "consistent hashing of nothing is random",
            "Requests of one client go anywhere.",
            "Set `httpHeaderName`, `httpCookie`, `httpQueryParameterName` or `useSourceIp`.",
        ),
        Entry(
            "missing-port",
            "the destination has several ports, and the route names none",
            "Requests go to the port that the gateway's server has, or fail where the service has no such port.",
            "Set `destination.port.number`.",
            istio="IST0112",
        ),
        Entry(
            "no-endpoints",
            "every request is answered with 503",
            "Nobody is there to answer.",
            "Add endpoints; the message says where they were looked for.",
        ),
        Entry(
            "no-outlier-detection",
            "without it no endpoint is ever unhealthy, so that no locality takes over",
            "When the nearest locality fails, requests keep going there and fail.",
            "Add `outlierDetection` to the same policy.",
        ),
        Entry(
            "no-ports",
            "a service without ports cannot be reached",
            "There is nothing to route to.",
            "Add `ports`.",
        ),
        Entry(
            "no-resolution",
            "a gateway does not know where clients wanted to go: only listed endpoints are used",
            "Without endpoints every request is answered with 503.",
            "Use resolution DNS, or STATIC with endpoints.",
        ),
        Entry(
            "not-prime",
            "the table size of Maglev has to be a prime number",
            "Envoy refuses the cluster.",
            "Use the prime that the hint names.",
        ),
        Entry(
            "overlapping-localities",
            "two entries are about the same places",
            "Which of them applies is not defined.",
            "Join them, or narrow one.",
        ),
        Entry(
            "partial-wildcard",
            "a wildcard such as `*foo.com` matches more than a subdomain",
            "`*foo.com` also is `notfoo.com`, which may be somebody else's.",
            "Write `*.foo.com`.",
        ),
        Entry(
            "policy-without-effect",
            "another rule's policy for the host comes first",
            "Timeouts, limits or TLS of this one do not apply.",
            "Join the rules.",
        ),
        Entry(
            "rule-without-effect",
            "another rule for the host comes first",
            "Nothing of this rule applies.",
            "Join the rules, or give them the same `exportTo`.",
        ),
        Entry(
            "too-many-endpoints",
            "this kind of resolution takes one",
            "The others get no requests.",
            "Use resolution DNS, or keep one endpoint.",
        ),
        Entry(
            "unknown-host",
            "no service has the host of the DestinationRule",
            "The rule applies to nothing: its TLS, limits and subsets do not exist.",
            "Correct the host; a short name is short for a service in the rule's own namespace.",
            istio="IST0101",
        ),
        Entry(
            "unresolvable-host",
            "DNS cannot resolve a wildcard",
            "Every request is answered with 503.",
            "List the hosts, or give endpoints.",
        ),
        Entry(
            "unusable-endpoint",
            "an endpoint that cannot be connected to; it is left out",
            "Its share of requests goes to the others.",
            "Correct its address.",
        ),
    ),
)
