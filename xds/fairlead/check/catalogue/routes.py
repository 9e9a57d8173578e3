"""Problems of routes."""

from fairlead.check.catalogue.entry import Entry, Subject

SUBJECT = Subject(
    "routes",
    "Routes",
    (
        Entry(
            "claim-without-gateway",
            "JWT claims can be matched on gateways only",
            "Sidecars do not know the claims, so that the route would never match.",
            "Bind the VirtualService to a Gateway, and leave `mesh` out.",
        ),
        Entry(
            "conflicting-actions",
            "a route that forwards, redirects or answers does one of these",
            "Only one of them could happen.",
            "Keep one of `route`, `redirect`, `directResponse` and `delegate`.",
        ),
        Entry(
            "default-retries",
            "gRPC calls may be made again by the default retry policy",
            "A service that fails after it has done the work does it twice: an order or a payment comes double. "
            "Istio's default is two more attempts where no connection is made, where a stream is refused, and where a "
            "call of gRPC ends with UNAVAILABLE or CANCELLED. No other answer, 503 neither, is a reason to try again.",
            "Set `retries.attempts: 0` on the route, or retries that only act before a request is sent: "
            "`retryOn: connect-failure,refused-stream`.",
        ),
        Entry(
            "duplicate-host",
            "two VirtualServices route everything of the same host; the older one does",
            "The other one's last route is never used.",
            "Join them, or give one other hosts or a match.",
            istio=("IST0109",),
        ),
        Entry(
            "empty-fault",
            "a fault without a delay or status",
            "Nothing is injected.",
            "Set `fixedDelay` or `httpStatus`.",
        ),
        Entry(
            "empty-match",
            "a match without a condition matches all",
            "Whoever reads it expects a condition.",
            "Add a condition, or leave the match out.",
        ),
        Entry(
            "empty-redirect",
            "it leads to where it comes from",
            "Browsers give up after some rounds.",
            "Set what is to change: `uri`, `authority`, `scheme` or `port`.",
        ),
        Entry(
            "held",
            "a destination does not exist, so that proxies keep the last version of the host that led somewhere. "
            "See [changes](../changes.md#a-route-that-leads-to-nothing-is-held)",
            "No edit of the host takes effect while it is held; after a restart of the server it is not held any more, "
            "and requests are answered with 503. A running server tells of it, `fairlead check` cannot.",
            "Add what the message names, or let the route lead to something that exists.",
        ),
        Entry(
            "ip-server-name",
            "clients send no server name for an IP address",
            "The route never matches.",
            "Use host names, or route the connections by port with `tcp`.",
        ),
        Entry(
            "large-body",
            "a long `directResponse` is sent to every proxy",
            "It costs memory and bandwidth with every change of its virtual host.",
            "Serve it from a backend.",
        ),
        Entry(
            "missing-action",
            "a route that says nothing of what to do",
            "Requests would be answered with 404.",
            "Add `route`, `redirect`, `directResponse` or `delegate`.",
        ),
        Entry(
            "missing-percentage",
            "without one no request is concerned",
            "The fault is never injected.",
            "Set `percentage.value`, 100 for all requests.",
        ),
        Entry(
            "nested-delegate",
            "a delegate cannot delegate",
            "The route is left out, so that its requests are answered by a later route or with 404.",
            "Delegate to the last VirtualService of the chain directly.",
        ),
        Entry(
            "no-gateway",
            "the VirtualService names no Gateway, and its host is no service that sidecars know",
            "No proxy ever gets such a request from it: clients from outside see 404.",
            "Name the Gateway in `gateways`, or add a Service or ServiceEntry for the host.",
        ),
        Entry(
            "no-matching-host",
            "no server of the Gateway has a host of this VirtualService",
            "None of its routes is served there; clients see 404.",
            "Correct one of the two; a Gateway's `namespace/host` also limits the namespace.",
            istio=("IST0132",),
        ),
        Entry(
            "overlapping-hosts",
            "hosts of one VirtualService overlap",
            "The narrower one is served by its own virtual host, so that nothing is gained by it.",
            "Keep the wider one, or write two VirtualServices where their routes differ.",
        ),
        Entry(
            "retries-off",
            "`attempts: 0` beside other retry settings",
            "The other settings are never used.",
            "Set `attempts`, or leave the rest out.",
        ),
        Entry(
            "sni-outside-hosts",
            "a server name that the object's hosts do not have",
            "No server hands such connections to the VirtualService.",
            "Add the name to `hosts`, or correct it.",
        ),
        Entry(
            "unknown-delegate",
            "the VirtualService to delegate to is not there, or not visible",
            "The route is left out, so that its requests are answered by a later route or with 404.",
            "Correct the name; a delegate has no `hosts`, and its `exportTo` has to include the root's namespace.",
            istio=("IST0101",),
        ),
        Entry(
            "unknown-gateway",
            "there is no such Gateway",
            "The VirtualService is bound to nothing there; clients see 404.",
            "Correct the name; a Gateway of another namespace is named `namespace/name`.",
            istio=("IST0101",),
        ),
        Entry(
            "unknown-port",
            "the Service has no such port; such requests are answered with 503, or the rule's error, unless the "
            "host is `held`",
            "What is sent there fails; what is to be counted there is not.",
            "Use one of the ports that the message names.",
            istio=("IST0101",),
        ),
        Entry(
            "unknown-retry-condition",
            "neither a condition of Envoy nor a status code",
            "Envoy ignores it without a word, so that nothing is retried for it.",
            "Use the conditions that the hint lists.",
        ),
        Entry(
            "unknown-service",
            "no such service is visible here; such requests are answered with 503, or the rule's error, unless the "
            "host is `held`",
            "What is sent there fails; what is to be counted there is not.",
            "Add a Service or ServiceEntry; a short name is short for one in the object's own namespace.",
            istio=("IST0101",),
        ),
        Entry(
            "unknown-subset",
            "no DestinationRule defines the subset; requests are answered with 503, unless the host is `held`",
            "What is sent there fails; what is to be counted there is not.",
            "Define the subset in a DestinationRule for the same host, or leave it out.",
            istio=("IST0101",),
        ),
        Entry(
            "unreachable-match",
            "matches before it take all that it would",
            "It is never used.",
            "Remove it, or move it up.",
            istio=("IST0131",),
        ),
        Entry(
            "unreachable-route",
            "routes before it take all that it would",
            "It is never used, and whoever reads it believes that it is.",
            "Move it up: routes are tried in order, so that narrow ones come first.",
            istio=("IST0130",),
        ),
        Entry(
            "zero-weights",
            "no destination gets requests",
            "Every request is answered with 503.",
            "Give one of them a weight.",
        ),
    ),
)
