"""Small questions about a certificate on the wire."""

from datetime import datetime

from cryptography import x509


def serial_of(der: bytes) -> str:
    """The serial number of a certificate in DER, hexadecimal in lower case."""
    return f"{x509.load_der_x509_certificate(der).serial_number:x}"


def end_of(pem: bytes) -> datetime:
    """The last instant of validity of a certificate in PEM, UTC."""
    return x509.load_pem_x509_certificate(pem).not_valid_after_utc
