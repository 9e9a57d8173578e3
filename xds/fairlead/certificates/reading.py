"""Small questions about a certificate on the wire."""

from cryptography import x509


def serial_of(der: bytes) -> str:
    """The serial number of a certificate in DER, hexadecimal in lower case."""
    return f"{x509.load_der_x509_certificate(der).serial_number:x}"
