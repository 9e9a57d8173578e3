"""Small questions about certificates that are on the wire."""

from datetime import datetime

from cryptography import x509


def serial_of(der: bytes) -> str:
    """The serial number of a certificate in DER, hexadecimal in lower case."""
    return f"{x509.load_der_x509_certificate(der).serial_number:x}"


def end_of(pem: bytes) -> datetime:
    """The last instant, UTC, at which all certificates in PEM are valid."""
    return min(certificate.not_valid_after_utc for certificate in x509.load_pem_x509_certificates(pem))
