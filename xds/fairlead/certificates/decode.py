"""Certificates: from PEM blocks to cryptography's objects, and what Envoy would say of their keys."""

import warnings
from collections.abc import Container, Iterable, Sequence
from typing import NamedTuple, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID, PublicKeyAlgorithmOID

from fairlead.certificates.findings import Findings
from fairlead.certificates.pem import Block, explain_body
from fairlead.certificates.values import CertificateDetails

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)

UNREADABLE = (
    ValueError,
    TypeError,
    LookupError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""All that cryptography raises for encodings that it cannot read; a property test mutates encodings to find others."""

_NAMED_CURVES = {
    "secp256r1": ("P-256", bytes.fromhex("06082a8648ce3d030107")),
    "secp384r1": ("P-384", bytes.fromhex("06052b81040022")),
    "secp521r1": ("P-521", bytes.fromhex("06052b81040023")),
}
"""Curves that Envoy takes, by cryptography's name: usual name and object identifier (DER)."""

_LABELS = ("CERTIFICATE", "X509 CERTIFICATE")
_INSTEAD_OF_CERTIFICATE = {
    "TRUSTED CERTIFICATE": "Write it as a plain certificate: openssl x509 -in FILE -out FILE",
    "CERTIFICATE REQUEST": "Put the certificate here that the CA makes of the request",
}
"""Hints for blocks that are taken for certificates."""


class Certificate(NamedTuple):
    """A certificate for checks, beside what is passed on of it."""

    parsed: x509.Certificate
    details: CertificateDetails
    key_accepted: bool
    """Whether Envoy takes a key of this kind for its own certificate."""

    @property
    def title(self) -> str:
        """How messages name it."""
        return self.details.title


def read_certificates(
    blocks: Sequence[Block], name: str, findings: Findings, *, beside: Container[str] = ()
) -> list[Certificate]:
    """Read the certificates among `blocks`; there is an error when one cannot be read, or none is there.

    Blocks with the labels `beside` may be there, too: the caller reads them.
    """
    wanted = [block for block in blocks if block.label in _LABELS]
    for label in dict.fromkeys(block.label for block in blocks if block.label not in _LABELS):
        if wanted and label in beside:
            continue
        if not wanted:
            message = f"{name} holds a PEM block {label} where a certificate belongs"
            hint = _INSTEAD_OF_CERTIFICATE.get(label, f"Put the certificate into {name}")
            findings.error("wrong-pem-block", name, message, hint)
        elif label.endswith("PRIVATE KEY"):
            message = f"{name} holds a PEM block {label} beside the certificate, which is not sent with it"
            findings.warning("private-key-in-certificate", name, message, "Remove it, because certificates are public")
        else:
            findings.warning(
                "unused-pem-block", name, f"{name} holds a PEM block {label}, which is ignored", "Remove it"
            )
    certificates = []
    for number, block in enumerate(wanted, 1):
        try:
            certificates.append(parse_certificate(block.der(), name))
        except UNREADABLE as fault:
            message = f"certificate {number} of {len(wanted)} in {name} cannot be read: {reason(fault)}"
            findings.error("unreadable-certificate", name, message, explain_body(block))
    return certificates


def parse_certificate(der: bytes, name: str) -> Certificate:
    """A certificate in DER, from the data key `name`; raises one of `UNREADABLE` when it is none."""
    # cryptography warns about serial numbers that are not positive, which Envoy takes.
    with warnings.catch_warnings(action="ignore"):
        parsed = x509.load_der_x509_certificate(der)
        common_names = parsed.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        alternatives = extension(parsed, x509.SubjectAlternativeName) or x509.SubjectAlternativeName([])
        key_algorithm, key_accepted = _key_algorithm(parsed)
        details = CertificateDetails(
            name=name,
            subject=parsed.subject.rfc4514_string(),
            issuer=parsed.issuer.rfc4514_string(),
            serial=f"{parsed.serial_number:x}",
            not_before=parsed.not_valid_before_utc,
            not_after=parsed.not_valid_after_utc,
            fingerprint=parsed.fingerprint(hashes.SHA256()).hex(),
            common_name=str(common_names[0].value) if common_names else None,
            dns_names=tuple(alternatives.get_values_for_type(x509.DNSName)),
            ip_addresses=tuple(str(address) for address in alternatives.get_values_for_type(x509.IPAddress)),
            uris=tuple(alternatives.get_values_for_type(x509.UniformResourceIdentifier)),
            key_algorithm=key_algorithm,
        )
    return Certificate(parsed, details, key_accepted)


def extension(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    """A certificate's extension of the kind, or None."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _key_algorithm(certificate: x509.Certificate) -> tuple[str, bool]:
    """Name of a certificate's kind of key, and whether Envoy takes it for its own certificate."""
    oid = certificate.public_key_algorithm_oid
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return f"kind {oid.dotted_string}", False
    if isinstance(key, rsa.RSAPublicKey):
        if oid == PublicKeyAlgorithmOID.RSASSA_PSS:
            return f"RSA-PSS {key.key_size}", False
        return f"RSA {key.key_size}", 2048 <= key.key_size <= 16384
    if isinstance(key, ec.EllipticCurvePublicKey):
        curve, identifier = _NAMED_CURVES.get(key.curve.name, (key.curve.name, b""))
        if identifier and identifier not in certificate.tbs_certificate_bytes:
            return f"EC {curve} with explicit parameters", False
        return f"EC {curve}", bool(identifier)
    name = type(key).__name__.removesuffix("PublicKey")
    return name, isinstance(key, ed25519.Ed25519PublicKey)


def reason(fault: Exception) -> str:
    """What one of `UNREADABLE` says, without the inner words of cryptography's parser."""
    return str(fault).partition(": ParseError")[0]


def encode(certificates: Iterable[Certificate]) -> bytes:
    """PEM of the certificates, and of nothing else."""
    return b"".join(certificate.parsed.public_bytes(Encoding.PEM) for certificate in certificates)
