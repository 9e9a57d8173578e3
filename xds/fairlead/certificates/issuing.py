"""Making certificates: a CA of one's own, and what it signs. For trying out, for tests, for a start."""

import enum
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fairlead.certificates.values import PrivateBytes


class Purpose(enum.Enum):
    """What a certificate is for; TLS implementations refuse it in the other role."""

    SERVER = "server"
    CLIENT = "client"


_KEY_USAGE = {Purpose.SERVER: ExtendedKeyUsageOID.SERVER_AUTH, Purpose.CLIENT: ExtendedKeyUsageOID.CLIENT_AUTH}


@dataclass(frozen=True)
class Issued:
    """A certificate and its private key, which may sign others if it is a CA's."""

    certificate: x509.Certificate
    _key: ec.EllipticCurvePrivateKey

    @classmethod
    def load(cls, certificate: bytes, key: bytes) -> "Issued":
        """From PEM as the properties below give it; raises `ValueError`, without content, when it is something else."""
        try:
            loaded = x509.load_pem_x509_certificate(certificate)
        except ValueError:
            raise ValueError("the certificate cannot be read") from None
        try:
            private = serialization.load_pem_private_key(key, None)
        except (TypeError, ValueError):
            raise ValueError("the private key cannot be read, or is encrypted") from None
        if not isinstance(private, ec.EllipticCurvePrivateKey):
            raise ValueError("the private key is of another type than EC")  # noqa: TRY004  # of the file, not of ours
        if private.public_key() != loaded.public_key():
            raise ValueError("the private key is not the one of the certificate")
        return cls(loaded, private)

    @property
    def is_authority(self) -> bool:
        """Whether it may sign others."""
        try:
            return self.certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        except (x509.ExtensionNotFound, ValueError):
            return False

    @property
    def end(self) -> datetime:
        """The last instant of validity, UTC."""
        return self.certificate.not_valid_after_utc

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
    uris: Sequence[str] = (),
    purpose: Purpose | None = None,
    issuer: Issued | None = None,
    organization: str = "Fairlead",
) -> Issued:
    """A certificate for host names, IP addresses and URIs, signed by `issuer`, without which it signs itself.

    Without hosts and URIs it is a CA's. `purpose`: it is for this alone. `start` has a time zone. Keys are of type
    EC P-256.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )
    names = [*map(_host_name, hosts), *map(x509.UniformResourceIdentifier, uris)]
    signer = issuer._key if issuer else key
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer.certificate.subject if issuer else name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + lifetime)
        .add_extension(x509.BasicConstraints(ca=not names, path_length=None), critical=True)
        .add_extension(_usage(authority=not names), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if purpose is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([_KEY_USAGE[purpose]]), critical=False)
    return Issued(builder.sign(signer, hashes.SHA256()), key)


def _host_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
