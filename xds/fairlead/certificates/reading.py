"""Small questions about certificates that are on the wire."""

import warnings
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from fairlead.certificates.decode import parse_certificate
from fairlead.certificates.values import CertificateDetails


def serial_of(der: bytes) -> str:
    """The serial number of a certificate in DER, hexadecimal in lower case."""
    return f"{x509.load_der_x509_certificate(der).serial_number:x}"


def end_of(pem: bytes) -> datetime:
    """The last instant, UTC, at which all certificates in PEM are valid; raises `ValueError` when one is none."""
    # cryptography warns about serial numbers that are not positive, which Envoy takes.
    with warnings.catch_warnings(action="ignore"):
        return min(certificate.not_valid_after_utc for certificate in x509.load_pem_x509_certificates(pem))


def details_of(pem: bytes) -> CertificateDetails:
    """What people ask of the first certificate in PEM; raises `ValueError` when it cannot be read."""
    with warnings.catch_warnings(action="ignore"):
        der = x509.load_pem_x509_certificates(pem)[0].public_bytes(Encoding.DER)
    return parse_certificate(der, "").details


def hosts_of(pem: bytes) -> list[str]:
    """The DNS names and IP addresses of a certificate in PEM; raises `ValueError` when it cannot be read."""
    try:
        with warnings.catch_warnings(action="ignore"):  # as above
            names = x509.load_pem_x509_certificate(pem).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return [
        *names.value.get_values_for_type(x509.DNSName),
        *map(str, names.value.get_values_for_type(x509.IPAddress)),
    ]
