"""Making certificates: a CA of one's own, and what it signs. For trying out, for tests, for a start."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fairlead.certificates.values import PrivateBytes


@dataclass(frozen=True)
class Issued:
    """A certificate and its private key, which may sign others if it is a CA's."""

    certificate: x509.Certificate
    _key: ec.EllipticCurvePrivateKey

    @property
    def serial(self) -> str:
        """Serial number, hexadecimal in lower case."""
        return f"{self.certificate.serial_number:x}"

    @property
    def certificate_pem(self) -> bytes:
        """The certificate alone."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> PrivateBytes:
        """The private key, PKCS #8, not encrypted."""
        return PrivateBytes(
            self._key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )


def issue(
    common_name: str,
    *,
    start: datetime,
    lifetime: timedelta,
    hosts: Sequence[str] = (),
    issuer: Issued | None = None,
    organization: str = "Fairlead",
) -> Issued:
    """A certificate for host names, signed by `issuer`; without hosts it is a CA's, without issuer self-signed.

    `start` has a time zone. Keys are of type EC P-256.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer.certificate.subject if issuer else name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + lifetime)
        .add_extension(x509.BasicConstraints(ca=not hosts, path_length=None), critical=True)
    )
    if hosts:
        names = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
        builder = builder.add_extension(names, critical=False)
    return Issued(builder.sign(issuer._key if issuer else key, hashes.SHA256()), key)
