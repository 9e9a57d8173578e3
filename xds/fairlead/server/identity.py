"""Who a client is, by its certificate: the namespace that it is bound to, whatever it says of itself.

Two forms of names are understood, as subject alternative names of the leaf:

- a SPIFFE id `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`, as Istio issues them
  (https://github.com/spiffe/spiffe/blob/main/standards/X509-SVID.md); it is the only one of its kind in a certificate
- where there is none, a DNS name `<name>.<namespace>.svc` with or without a domain after it. The `svc` is required:
  `www.example.com` must not be taken for a proxy of the namespace `example`.

Names that the transport hands over come from a chain that has been verified against the client CAs.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from fairlead.certificates.reading import end_of
from fairlead.errors import IdentityError, SettingsError

TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}")
"""What a SPIFFE trust domain is made of."""

_SPIFFE = "spiffe://"
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_ACCOUNT = rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*"
_SPIFFE_ID = re.compile(rf"{_SPIFFE}(?P<domain>{TRUST_DOMAIN.pattern})/ns/(?P<namespace>{_LABEL})/sa/{_ACCOUNT}")
_DNS_NAME = re.compile(rf"{_LABEL}\.(?P<namespace>{_LABEL})\.svc(?:\.{_LABEL})*")
_WANTED = "spiffe://<trust domain>/ns/<namespace>/sa/<service account>"


@dataclass(frozen=True, slots=True)
class Identity:
    """What a certificate says."""

    name: str
    """As it stands in the certificate: a SPIFFE id or a DNS name."""
    namespace: str


def spiffe_id(trust_domain: str, namespace: str, service_account: str) -> str:
    """The name for a proxy's certificate; raises `SettingsError` when a part cannot stand in one."""
    for option, text, pattern in (
        ("--trust-domain", trust_domain, TRUST_DOMAIN.pattern),
        ("--namespace", namespace, _LABEL),
        ("--service-account", service_account, _ACCOUNT),
    ):
        if re.fullmatch(pattern, text) is None:
            raise SettingsError(
                f"{option} is {text!r}; write lower-case letters, digits and dashes, as Kubernetes' names are made of"
            )
    return f"{_SPIFFE}{trust_domain}/ns/{namespace}/sa/{service_account}"


def identity_of(
    authenticated: Mapping[str, Iterable[bytes]], now: datetime, *, trust_domain: str = "", allow_unidentified: bool
) -> Identity | None:
    """The identity of a client from the `auth_context` of its call.

    None when no certificate was asked for, or when one without an identity is allowed. With a `trust_domain`, only
    SPIFFE ids of it count. Raises `IdentityError` when the certificate names nobody whom one could believe.
    """
    certificate = b"".join(authenticated.get("x509_pem_cert", ()))
    if not certificate:
        return None
    try:
        end = end_of(certificate)
    except ValueError:
        raise IdentityError("the client certificate cannot be read; issue another one") from None
    # The handshake has looked at the end, but connections outlive it, and so do TLS sessions that are resumed.
    if now > end:
        raise IdentityError(f"the client certificate expired on {end:%Y-%m-%d %H:%M:%S UTC}; renew it, and reconnect")
    spiffe_ids = [uri for uri in _texts(authenticated, "peer_uri") if uri.lower().startswith(_SPIFFE)]
    if spiffe_ids:
        return _from_spiffe(spiffe_ids, trust_domain)
    dns_names = [] if trust_domain else _texts(authenticated, "peer_dns")
    identities = [
        Identity(name, found["namespace"]) for name in dns_names if (found := _DNS_NAME.fullmatch(name)) is not None
    ]
    namespaces = sorted({identity.namespace for identity in identities})
    if len(namespaces) > 1:
        raise IdentityError(
            f"the client certificate has names of several namespaces, {', '.join(namespaces)}; keep one"
        )
    if identities:
        return identities[0]
    if allow_unidentified:
        return None
    raise IdentityError(
        f"the client certificate names no namespace; issue one with the URI {_WANTED}, as `fairlead pki proxy` does"
    )


def _from_spiffe(ids: list[str], trust_domain: str) -> Identity:
    if len(ids) > 1:
        raise IdentityError(f"the client certificate has {len(ids)} SPIFFE ids; it must have one")
    found = _SPIFFE_ID.fullmatch(ids[0])
    if found is None:
        raise IdentityError(f"the SPIFFE id {ids[0][:300]!r} of the client certificate is not of the form {_WANTED}")
    if trust_domain and found["domain"] != trust_domain:
        raise IdentityError(
            f"the client certificate is of the trust domain {found['domain']}; --trust-domain is {trust_domain}"
        )
    return Identity(ids[0], found["namespace"])


def _texts(authenticated: Mapping[str, Iterable[bytes]], name: str) -> list[str]:
    return [text.decode(errors="replace") for text in authenticated.get(name, ())]
