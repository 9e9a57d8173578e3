"""What has been checked, as values: key pairs, trust bundles, and what people ask of them."""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from fairlead.problems import FieldPath, ObjectKey, Problem, warning

EXPIRES_SOON = timedelta(days=30)
"""How long before its end a certificate is reported, as ASM's certificate management does."""


class PrivateBytes:
    """Bytes that no representation shows, compared by content; `reveal` is the only way to them."""

    __slots__ = ("_content",)

    def __init__(self, content: bytes) -> None:
        self._content = content

    def reveal(self) -> bytes:
        """The content itself."""
        return self._content

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PrivateBytes) and self._content == other._content

    def __hash__(self) -> int:
        return hash(self._content)

    def __repr__(self) -> str:
        return "PrivateBytes(<redacted>)"


@dataclass(frozen=True, slots=True)
class CertificateDetails:
    """What people ask of one certificate."""

    name: str
    """The data key that it was read from, such as ``tls.crt``."""
    subject: str
    """Distinguished name as in RFC 4514, such as ``CN=shop.example,O=Shop``; may be empty."""
    issuer: str
    serial: str
    """Serial number, hexadecimal in lower case."""
    not_before: datetime
    """First instant of validity, UTC."""
    not_after: datetime
    """Last instant of validity, UTC."""
    fingerprint: str
    """SHA-256 of the DER encoding, hexadecimal in lower case."""
    common_name: str | None
    dns_names: tuple[str, ...]
    """DNS subject alternative names; a leading label of ``*`` stands for any one label."""
    ip_addresses: tuple[str, ...]
    uris: tuple[str, ...]
    """URI subject alternative names: SPIFFE identities are among them."""
    key_algorithm: str
    """Such as ``RSA 2048``, ``EC P-256`` or ``Ed25519``."""

    @property
    def relies_on_common_name(self) -> bool:
        """Whether only the subject's common name names a host, which clients of today do not look at (RFC 9525)."""
        return bool(self.common_name) and not (self.dns_names or self.ip_addresses or self.uris)

    @property
    def title(self) -> str:
        """How messages name it."""
        return self.subject or f"with serial number {self.serial}"


@dataclass(frozen=True, slots=True)
class RevocationDetails:
    """Source and dates of a CRL or of an OCSP response."""

    name: str
    """The data key that it was read from, such as ``ca.crl``."""
    title: str
    """What it is, such as ``CRL of CN=Shop CA``."""
    this_update: datetime
    """First instant of validity, UTC."""
    next_update: datetime | None
    """Last instant of validity, UTC; None when it states none."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate chain and its private key, fit for Envoy's ``TlsCertificate``."""

    certificate_chain: bytes
    """PEM, leaf first."""
    private_key: PrivateBytes
    """PEM (PKCS #8), not encrypted."""
    ocsp_staple: bytes | None
    """DER of an OCSP response for the leaf."""
    chain: tuple[CertificateDetails, ...]
    """One for each certificate of the chain, in its order."""
    staple: RevocationDetails | None
    """Dates of `ocsp_staple`."""

    @property
    def leaf(self) -> CertificateDetails:
        """The certificate that the private key belongs to."""
        return self.chain[0]


@dataclass(frozen=True, slots=True)
class TrustBundle:
    """Certificates that a peer's certificate must come from, fit for Envoy's ``CertificateValidationContext``."""

    ca_certificates: bytes
    """PEM."""
    crl: bytes | None
    """PEM of all certificate revocation lists; None when there are none."""
    authorities: tuple[CertificateDetails, ...]
    """One for each certificate, in their order."""
    revocation_lists: tuple[RevocationDetails, ...]
    """One for each list of `crl`."""


def validity_problems(
    details: CertificateDetails | RevocationDetails,
    key: ObjectKey,
    data_path: FieldPath,
    now: datetime,
    soon: timedelta = EXPIRES_SOON,
) -> tuple[Problem, ...]:
    """Say whether `details` are out of date at `now` (with a time zone), or will be `soon`: no error, it is served."""
    path = (*data_path, details.name)
    if isinstance(details, RevocationDetails):
        renew = "Renew it: Envoy refuses clients whose CA has no current CRL, and sends no staple that is out of date"
        if now < details.this_update:
            message = f"{details.title} is not valid before {_shown(details.this_update)}"
            return (warning("revocation-not-yet-valid", message, key=key, path=path, hint=renew),)
        if details.next_update is not None and now > details.next_update:
            message = f"{details.title} is out of date since {_shown(details.next_update)}"
            return (warning("revocation-expired", message, key=key, path=path, hint=renew),)
        return ()
    title = f"certificate {details.title}"
    if now < details.not_before:
        message = f"{title} is not valid before {_shown(details.not_before)}"
        hint = "Check the clock that issued it, or wait: it is served, but peers refuse it until then"
        return (warning("certificate-not-yet-valid", message, key=key, path=path, hint=hint),)
    if now > details.not_after:
        message = f"{title} expired on {_shown(details.not_after)}"
        hint = "Renew it: it is served, but peers refuse it"
        return (warning("certificate-expired", message, key=key, path=path, hint=hint),)
    if details.not_after - now < soon:
        message = f"{title} expires on {_shown(details.not_after)}, in {(details.not_after - now).days} days"
        return (warning("certificate-expires-soon", message, key=key, path=path, hint="Renew it"),)
    return ()


def covers(details: CertificateDetails, host: str) -> bool:
    """Whether a client that connects to `host`, a DNS name or an IP address, accepts the certificate's names.

    A certificate without any subject alternative name is judged by its common name (see `relies_on_common_name`).
    A leading ``*`` label stands for exactly one label (RFC 9525 section 6.3); a `host` that is a wildcard itself is
    covered by the same wildcard only.
    """
    common_name = (details.common_name or "",) if details.relies_on_common_name else ()
    names = details.ip_addresses if _is_ip_address(host) else details.dns_names
    return names_cover((*names, *common_name), host)


def _is_ip_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def names_cover(names: Iterable[str], host: str) -> bool:
    """Whether one of a certificate's names, DNS names and IP addresses, is good for a host, as `covers` says."""
    if _is_ip_address(host):
        return str(ipaddress.ip_address(host)) in names
    host = host.lower().rstrip(".")
    _, _, parent = host.partition(".")
    wanted = (host, f"*.{parent}") if parent else (host,)
    return any(name.lower().rstrip(".") in wanted for name in names)


def _shown(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%d %H:%M:%S UTC")
