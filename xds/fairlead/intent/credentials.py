"""Certificates and keys, as they are delivered to proxies."""

from dataclasses import dataclass, field

from fairlead.intent.base import Origin


@dataclass(frozen=True, slots=True)
class KeyPairCredential:
    """A certificate to present, with its private key, which no representation shows."""

    name: str
    """The name that `TlsTermination.credentials` and `TlsOrigination.credential` use."""
    certificate_chain: bytes
    """PEM, the leaf first."""
    private_key: bytes = field(repr=False)
    """PEM."""
    ocsp_staple: bytes | None = None
    """DER."""
    origin: Origin = ()


@dataclass(frozen=True, slots=True)
class AuthoritiesCredential:
    """CA certificates to check the other side with."""

    name: str
    """The name that `Validation.authorities` uses."""
    certificates: bytes
    """PEM."""
    revocation_list: bytes | None = None
    """PEM."""
    origin: Origin = ()


@dataclass(frozen=True, slots=True)
class KeyPairFilesCredential:
    """A certificate to present, with its private key, in files of the proxy, which reads them anew when they change."""

    name: str
    certificate_chain: str
    private_key: str
    origin: Origin = ()


@dataclass(frozen=True, slots=True)
class AuthoritiesFilesCredential:
    """CA certificates in a file of the proxy, which reads it anew when it changes."""

    name: str
    certificates: str
    revocation_list: str = ""
    """Another file, or empty."""
    origin: Origin = ()


Credential = KeyPairCredential | AuthoritiesCredential | KeyPairFilesCredential | AuthoritiesFilesCredential
