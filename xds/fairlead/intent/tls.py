"""What both ends of TLS have in common."""

import enum
from dataclasses import dataclass


class TlsVersion(enum.Enum):
    """Versions of TLS."""

    TLS_1_0 = "1.0"
    TLS_1_1 = "1.1"
    TLS_1_2 = "1.2"
    TLS_1_3 = "1.3"


@dataclass(frozen=True, slots=True)
class TlsParameters:
    """Limits of a handshake; None and empty mean the proxy's defaults."""

    minimum: TlsVersion | None = None
    maximum: TlsVersion | None = None
    cipher_suites: tuple[str, ...] = ()
    ecdh_curves: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Validation:
    """How the certificate of the other side is checked."""

    authorities: str = ""
    """Name of the credential that holds the CA certificates, or empty."""
    system_authorities: bool = False
    """Trust the CA certificates of the proxy's host."""
    revocation_list_file: str = ""
    """A file of the proxy with certificates that are revoked, for `system_authorities`; or empty."""
    subject_alternative_names: tuple[str, ...] = ()
    """One of these must be in the certificate, exactly; empty: any."""
    spki_hashes: tuple[str, ...] = ()
    """Base64 SHA-256 of public keys that are accepted."""
    certificate_hashes: tuple[str, ...] = ()
    """Hexadecimal SHA-256 of certificates that are accepted."""
    accept_untrusted: bool = False
    """Certificates are asked for but not verified."""
