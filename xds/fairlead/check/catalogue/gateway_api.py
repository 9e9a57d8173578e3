"""Problems of HTTPRoutes and of references of the Gateway API."""

from fairlead.check.catalogue.entry import Entry, Subject

SUBJECT = Subject(
    "gateway-api",
    "HTTPRoutes and references of the Gateway API",
    (
        Entry(
            "invalid-certificate-ref",
            "the reference is to no Secret",
            "The listener has no certificate, and is not served.",
            "Refer to a Secret of type `kubernetes.io/tls`.",
        ),
        Entry(
            "invalid-kind",
            "the backend is no Service; a share of requests is answered with 500",
            "Requests of that share fail.",
            "Refer to a Service.",
        ),
        Entry(
            "no-certificate",
            "the listener has no usable certificate, and is not served",
            "Clients cannot connect.",
            "Correct the Secret that `certificateRefs` names, or share it by a ReferenceGrant.",
            istio=("IST0161",),
        ),
        Entry(
            "no-matching-listener-hostname",
            "the route's host names and the listener's have nothing in common",
            "The route is not served there; clients see 404.",
            "Correct one of the two.",
            istio=("IST0132",),
        ),
        Entry(
            "no-matching-parent",
            "the Gateway has no listener of that name or port",
            "The route is not served there.",
            "Correct `sectionName` or `port`, or leave them out for all listeners.",
            istio=("IST0101",),
        ),
        Entry(
            "no-parent",
            "the route is attached to nothing",
            "It is never used.",
            "Name a Gateway in `parentRefs`.",
        ),
        Entry(
            "not-allowed-by-listeners",
            "`allowedRoutes` excludes the route",
            "It is not served there; clients see 404.",
            "Move the route to an allowed namespace, or widen `allowedRoutes`: its default is the Gateway's own.",
        ),
        Entry(
            "ref-not-permitted",
            "a reference to another namespace that no ReferenceGrant shares",
            "What it refers to is not used: a certificate is missing, or requests are answered with 500.",
            "Add a ReferenceGrant in the namespace of what is referred to.",
        ),
    ),
)
