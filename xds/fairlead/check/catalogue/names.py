"""Problems of names, addresses and expressions."""

from fairlead.check.catalogue.entry import Entry, Subject

SUBJECT = Subject(
    "names",
    "Names, addresses, expressions",
    (
        Entry(
            "invalid-address",
            "no IP address, CIDR block or socket path",
            "Nothing can be bound or connected to.",
            "Write an address such as `10.0.0.1`, `10.0.0.0/8` or `unix:///run/app.sock`.",
        ),
        Entry(
            "invalid-duration",
            "too short, or too fine",
            "Proxies count in milliseconds or seconds; what is finer would be lost.",
            "Write a multiple of what the message names, such as `250ms`.",
        ),
        Entry(
            "invalid-export",
            "`exportTo` names something that is no namespace, `.` or `*`, or cannot be combined",
            "Nobody, or everybody, would see the object.",
            "Write names of namespaces, or `.` or `*` alone.",
        ),
        Entry(
            "invalid-header",
            "no name or value that a header can have or that Envoy would change",
            "Envoy refuses a whole route table for one such header.",
            "Use letters, digits and hyphens; `%` is written `%%`, and the host is changed by `rewrite.authority`.",
        ),
        Entry(
            "invalid-host",
            "no host name; a URL, or a wildcard where none can be",
            "No request has such a host.",
            "Write a host name without scheme, port and path; `*` alone or as the first label.",
        ),
        Entry(
            "invalid-label",
            "no key or value of a label",
            "A selector with it selects nothing.",
            "Use up to 63 letters, digits, `-`, `_` and `.`; wildcards are not known.",
        ),
        Entry(
            "invalid-locality",
            "no `region/zone/subzone`, or a failover to itself",
            "No endpoint is there, so nothing is preferred.",
            "Write `region`, `region/zone` or `region/zone/subzone`, each as endpoints have it.",
        ),
        Entry(
            "invalid-name",
            "no name that an object or namespace can have",
            "Nothing can refer to it.",
            "Use lower case letters, digits and hyphens.",
        ),
        Entry(
            "invalid-path",
            "a path that can never match, or does not begin with `/`",
            "The route is never used.",
            "Begin it with `/`, and leave query and fragment out.",
        ),
        Entry("invalid-port", "not between 1 and 65535", "There is no such port.", "Write the number of a port."),
        Entry(
            "invalid-regex",
            "the regular expression is faulty, or too complex, in RE2, Envoy's dialect",
            "Envoy refuses the whole route table for it.",
            "Write it in RE2, which has no look-around and no back-references; use prefix or exact where they do.",
            istio=("IST0106", "IST0122"),
        ),
        Entry(
            "invalid-status",
            "no status code that can be answered, or redirected with",
            "Clients would not understand the answer.",
            "Use a status code of HTTP or, for gRPC, the name of a status.",
        ),
        Entry(
            "invalid-substitution",
            "a rewrite refers to a group that its expression does not have",
            "The path would stay as it is.",
            "Add the group to the expression, or correct the number after the backslash.",
        ),
        Entry(
            "large-regex",
            "an Envoy whose bootstrap does not raise the limit refuses it; `fairlead bootstrap` raises it",
            "Such an Envoy refuses the whole route table.",
            "Start Envoy with `fairlead bootstrap`'s configuration, or make the expression simpler.",
        ),
        Entry(
            "unknown-command",
            "a `%COMMAND%`, in a header value or the format of the access log, that Envoy does not know",
            "Envoy refuses the whole route table for it.",
            "Correct the command, or write `%%` for a percent sign.",
        ),
    ),
)
