"""Problems of certificates."""

from fairlead.check.catalogue.entry import Entry, Subject

_NOT_SERVED = "The certificate is not served: servers that need it take no connections, other servers are not affected."
_NOT_TRUSTED = "The CA certificates are not served, so that peers cannot be verified and connections fail."

SUBJECT = Subject(
    "certificates",
    "Certificates",
    (
        Entry("broken-pem", "a BEGIN line without its END, or base64 that is none", _NOT_SERVED, "Copy it again."),
        Entry(
            "ca-without-crl",
            "with a CRL for some CAs, Envoy refuses what the others issued",
            "Clients of these CAs cannot connect.",
            "Add a CRL for every CA, or none.",
        ),
        Entry(
            "certificate-expired",
            "its end date has passed",
            "Clients refuse it.",
            "Renew it: a changed Secret reaches proxies at once, without a restart.",
        ),
        Entry(
            "certificate-expires-soon",
            "its end date is near",
            "From that day on, clients refuse it.",
            "Renew it; `fairlead check --expires-within` says how many days are soon.",
        ),
        Entry(
            "certificate-host-mismatch",
            "the server's certificate is not for one of its hosts",
            "Clients that ask for the host refuse the connection.",
            "Get a certificate that names the host, or a wildcard one level above it.",
        ),
        Entry(
            "certificate-not-yet-valid",
            "its start date is to come",
            "Until then, clients refuse it.",
            "Check the clock of whoever issued it, or wait.",
        ),
        Entry(
            "certificate-without-name",
            "neither subject nor alternative name: Envoy refuses it",
            _NOT_SERVED,
            "Issue one with the names of the hosts.",
        ),
        Entry(
            "chain-order",
            "a certificate of the chain did not issue the one before it",
            "Clients that do not know the issuer cannot verify the certificate.",
            "Put the server's own certificate first, then the one that issued it, and so on.",
        ),
        Entry(
            "connection-reuse",
            "a server's certificate is also valid for a host of another server on the same port",
            "Browsers reuse an HTTP/2 connection for every host that its certificate names: requests for the other "
            "host arrive at this server, which does not know it, and are answered with 404.",
            "Put the hosts into one server, or use certificates that name only the server's own hosts.",
            istio=("IST0138",),
        ),
        Entry(
            "credential-not-permitted",
            "the Secret is in a namespace that is not the proxy's",
            "A proxy gets only Secrets of its own namespace, so that the server takes no connections.",
            "Move the Secret to the namespace of the proxies, whichever namespace the Gateway is in.",
            istio=("IST0161",),
        ),
        Entry(
            "crl-without-ca",
            "the CRL is signed by none of the CAs",
            _NOT_TRUSTED,
            "Add the CA that signed it, or leave the CRL out.",
        ),
        Entry("empty-data-key", "the Secret's entry is empty", _NOT_SERVED, "Fill it."),
        Entry(
            "encrypted-private-key",
            "there is no password for it",
            _NOT_SERVED,
            "Decrypt the key: `openssl pkey -in tls.key -out plain.key`.",
        ),
        Entry(
            "key-mismatch",
            "the private key does not belong to the certificate",
            "Envoy would refuse it and, with it, every change of its listeners, so it is not served.",
            "Take key and certificate from the same issue.",
            istio=("IST0161",),
        ),
        Entry(
            "missing-certificate",
            "TLS settings that need a certificate, and have none",
            "No connection could be made.",
            "Set `credentialName`.",
        ),
        Entry(
            "missing-credential",
            "there is no such Secret",
            "The server takes no connections until it is there; other servers are not affected.",
            "Create it in the namespace of the proxies, or correct the name.",
            istio=("IST0101",),
        ),
        Entry(
            "missing-data-key",
            "the Secret lacks an entry such as `tls.key`",
            _NOT_SERVED,
            "Add it; `kubectl create secret tls` makes both entries.",
            istio=("IST0161",),
        ),
        Entry(
            "must-staple",
            "the certificate demands an OCSP staple that is not there",
            _NOT_SERVED,
            "Add the staple, or issue a certificate without that demand.",
        ),
        Entry(
            "no-server-name",
            "upstream TLS without a name to ask for",
            "Servers that have several certificates cannot choose one, and the name in theirs is not verified.",
            "Set `sni`.",
        ),
        Entry(
            "no-workload-certificates",
            "`ISTIO_MUTUAL` needs certificates that proxies do not have; plaintext is sent",
            "Whoever is between can read it, and servers that require TLS refuse it.",
            "Put the proxies' certificate and that of the mesh's CA into a Secret `workload-certificate` in their "
            "namespace, or use mode SIMPLE or MUTUAL with a `credentialName`.",
        ),
        Entry(
            "not-a-ca",
            "a certificate among the CAs that trusts only itself",
            "What it issued is not accepted.",
            "Use the certificate of the CA.",
        ),
        Entry(
            "not-pem", "the entry is something else than PEM", _NOT_SERVED, "Convert it: `openssl x509 -inform der`."
        ),
        Entry(
            "private-key-in-certificate",
            "a private key in `tls.crt`; it is not sent",
            "Whoever may read certificates can read the key.",
            "Remove it, and consider the key known to others.",
        ),
        Entry(
            "restricted-data",
            "ASM does not take Secrets with a `token` for certificates",
            "With `--strict-secret-names` it is not served; in ASM it is not.",
            "Use a Secret of its own for certificates.",
        ),
        Entry(
            "restricted-name",
            "ASM does not take Secrets of reserved names",
            "With `--strict-secret-names` it is not served; in ASM it is not.",
            "Choose a name that does not begin with `istio` or `prometheus`.",
        ),
        Entry(
            "revocation-expired",
            "a CRL or staple is out of date",
            "Envoy refuses clients whose CA has no current CRL, and sends no staple that is out of date.",
            "Renew it.",
        ),
        Entry(
            "revocation-not-yet-valid",
            "a CRL or staple of the future",
            "Envoy refuses clients whose CA has no current CRL.",
            "Check the clock of whoever issued it.",
        ),
        Entry(
            "shadowed-data-key",
            "two entries mean the same; the first is used",
            "A change of the other one does nothing.",
            "Remove one.",
        ),
        Entry("staple-mismatch", "the staple is about another certificate", _NOT_SERVED, "Fetch the staple again."),
        Entry(
            "staple-not-good",
            "the staple says revoked or unknown",
            "Clients refuse the certificate.",
            "Renew the certificate.",
        ),
        Entry("staple-without-end", "Envoy takes it for expired", _NOT_SERVED, "Ask for one with an end date."),
        Entry("trailing-data", "bytes after the last block", _NOT_SERVED, "Remove them."),
        Entry(
            "unknown-credential",
            "a name that is neither a Secret's nor a ConfigMap's",
            "The server takes no connections.",
            "Write the name of a Secret, or `configmap://name`.",
            istio=("IST0101",),
        ),
        Entry("unreadable-certificate", "a block that is no certificate", _NOT_SERVED, "Copy it again."),
        Entry("unreadable-crl", "a block that is no CRL", _NOT_TRUSTED, "Copy it again."),
        Entry("unreadable-private-key", "a block that is no private key", _NOT_SERVED, "Copy it again."),
        Entry(
            "unsupported-key",
            "a kind of key that Envoy refuses",
            _NOT_SERVED,
            "Use RSA of 2048 bits or more, or ECDSA with P-256, P-384 or P-521.",
        ),
        Entry(
            "unsupported-key-usage",
            "an EC key that may not sign: Envoy refuses it",
            _NOT_SERVED,
            "Issue the certificate with the key usage `digitalSignature`.",
        ),
        Entry("unusable-staple", "no OCSP response that Envoy takes", _NOT_SERVED, "Fetch the staple again, as DER."),
        Entry(
            "unused-pem-block",
            "a block that does not belong there, and is ignored",
            "It has no effect.",
            "Remove it.",
        ),
        Entry(
            "wrong-pem-block",
            "a certificate where a key belongs, or the reverse",
            _NOT_SERVED,
            "Swap the entries.",
        ),
    ),
)
