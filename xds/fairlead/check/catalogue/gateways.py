"""Problems of Gateways and listeners."""

from fairlead.check.catalogue.entry import Entry, Subject

SUBJECT = Subject(
    "gateways",
    "Gateways and listeners",
    (
        Entry(
            "duplicate-server-name",
            "two servers on a port claim TLS connections for the same name; the older Gateway has it",
            "Requests that were meant for the other server get the wrong routes or certificate, or 404.",
            "Give the name to one of them.",
            istio=("IST0145",),
        ),
        Entry(
            "empty-selector",
            "no labels: everything is selected",
            "A Gateway for one edge opens its ports on all of them, and a policy is everybody's.",
            "Write labels; leave the selector out where all are meant.",
        ),
        Entry(
            "missing-tls",
            "a server of that protocol needs `tls`",
            "There is no telling whether to decrypt with which certificate, or to pass on.",
            "Add `tls` with a mode, and a `credentialName` unless the mode is PASSTHROUGH.",
        ),
        Entry(
            "named-target-port",
            "`targetPort` of a Service is a name; proxies do not tell which number that is",
            "The proxy may listen on another port than the Service sends to, and nobody gets through.",
            "Write the number.",
        ),
        Entry(
            "no-routes",
            "the server accepts no connections, or the VirtualService does nothing: there are no routes",
            "Clients' connections are refused.",
            "Add a VirtualService with `tls` or `tcp` routes for the server.",
        ),
        Entry(
            "no-workload-address",
            "a sidecar does not say where others reach its workload, so that it takes nothing in",
            "Others reach the application past its sidecar, if at all.",
            "Start it with what `fairlead bootstrap --role sidecar --address 10.0.0.2` prints.",
        ),
        Entry(
            "port-not-exposed",
            "no Service in front of the gateway's proxies has the port",
            "The proxies listen, but nobody reaches them through the Service.",
            "Add the port to the Service, or use one that it has.",
            istio=("IST0162",),
        ),
        Entry(
            "redirect-nowhere",
            "plaintext requests are redirected to https, but no server takes https for the host",
            "Clients follow the redirect and get a TLS error, or no connection.",
            "Add a server of protocol HTTPS for the host to a Gateway for the same proxies, or drop `httpsRedirect`; "
            "suppress it where a load balancer ends TLS and tells so by `x-forwarded-proto`.",
        ),
        Entry(
            "server-conflict",
            "two servers, or services of a sidecar, cannot share a port; the older Gateway has it",
            "The other server is not there at all, the other service is not reached.",
            "Give one another port or, with TLS, other hosts. Let a Sidecar see only one of two TCP services.",
            istio=("IST0145",),
        ),
        Entry(
            "tls-version-order",
            "the maximum version is below the minimum",
            "No client could connect.",
            "Swap them, or leave one out.",
        ),
        Entry(
            "too-many-certificates",
            "more key pairs than one RSA and one ECDSA",
            "Those that Envoy cannot use are left out, so that some hosts have no certificate.",
            "Split the hosts among several servers, each with its own pair.",
        ),
        Entry(
            "unexpected-tls",
            "a plaintext server has TLS settings",
            "Nothing is encrypted, whatever the settings say.",
            "Use protocol HTTPS or TLS, or keep only `httpsRedirect`.",
        ),
        Entry(
            "unknown-cipher-suite",
            "no cipher suite of Envoy; it is left out",
            "With all of them left out, defaults apply, which may be weaker than was wanted.",
            "Use the names of BoringSSL that the hint lists.",
        ),
        Entry(
            "unknown-curve",
            "no curve of Envoy; it is left out",
            "With all of them left out, defaults apply.",
            "Use one of those that the hint lists.",
        ),
        Entry(
            "unknown-gateway-class",
            "no GatewayClass of that name, so that the Gateway is not served",
            "None of its listeners exists.",
            "Add the GatewayClass, or correct its name.",
        ),
        Entry(
            "unknown-protocol",
            "no protocol that a port can have",
            "Nothing is known about how to read the bytes.",
            "Use one of those that the hint lists.",
        ),
        Entry(
            "weak-tls-version",
            "old TLS versions cannot be negotiated with the default cipher suites",
            "Old clients still fail, although the version says otherwise.",
            "List cipher suites of that version, or require TLS 1.2.",
        ),
    ),
)
