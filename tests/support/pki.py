"""Keys, certificates, CRLs and OCSP responses, made on the fly; odd formats come from the real openssl."""

import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import ocsp
from cryptography.x509.oid import NameOID

NOW = datetime.now(UTC).replace(microsecond=0)
"""The moment of import, around which what is made here is valid, because Envoy and openssl look at the clock."""

SHOP = x509.SubjectAlternativeName([x509.DNSName("shop.example")])
MUST_STAPLE = x509.TLSFeature([x509.TLSFeatureType.status_request])
_CURVES = {curve.name: curve for curve in (ec.SECP224R1, ec.SECP256K1, ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)}


def openssl(*arguments: str, stdin: bytes = b"", files: Sequence[bytes] = ()) -> bytes:
    """What the command prints, or writes to a file `out`; it runs in a folder with the files `f0`, `f1` ..."""
    with TemporaryDirectory() as folder:
        for number, content in enumerate(files):
            Path(folder, f"f{number}").write_bytes(content)
        done = subprocess.run(["openssl", *arguments], input=stdin, capture_output=True, check=True, cwd=folder)
        out = Path(folder, "out")
        return out.read_bytes() if out.exists() else done.stdout


@cache
def binary_curve_ca() -> tuple[bytes, bytes]:
    """PEM of a CA on a curve that cryptography does not know, and of its key."""
    private_key = openssl("ecparam", "-name", "sect283k1", "-genkey", "-noout")
    return openssl("req", "-x509", "-key", "f0", "-subj", "/CN=Binary", files=[private_key]), private_key


def issued_by_binary_curve_ca(private_key: bytes) -> bytes:
    """PEM of a certificate for the key, from that CA."""
    request = openssl("req", "-new", "-key", "f0", "-subj", "/CN=shop", files=[private_key])
    return openssl("x509", "-req", "-days", "3", "-CA", "f0", "-CAkey", "f1", stdin=request, files=binary_curve_ca())


@cache
def key(kind: str) -> Any:
    """A private key such as `rsa-2048` or `ec-secp256r1`; a further word tells keys of one kind apart."""
    algorithm, *details = kind.split("-")
    match algorithm:
        case "rsa" if details[0] == "19630":
            return _rsa_of_mersenne_primes()
        case "rsa":
            return rsa.generate_private_key(65537, int(details[0]))
        case "ec":
            return ec.generate_private_key(_CURVES[details[0]]())
        case "dsa":
            return dsa.generate_private_key(1024)
        case "ed448":
            return ed448.Ed448PrivateKey.generate()
    return ed25519.Ed25519PrivateKey.generate()


def _rsa_of_mersenne_primes() -> rsa.RSAPrivateKey:
    """A long key that takes no time to find, because its primes are known."""
    p, q, e = 2**9689 - 1, 2**9941 - 1, 65537
    d = pow(e, -1, (p - 1) * (q - 1))
    crt = rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q)
    numbers = rsa.RSAPrivateNumbers(p, q, d, *crt, rsa.RSAPublicNumbers(e, p * q))
    return numbers.private_key(unsafe_skip_rsa_key_validation=True)


def key_pem(kind: str = "rsa-2048") -> bytes:
    """PKCS #8, as `openssl genpkey` writes it."""
    return bytes(key(kind).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def name(common_name: str | None) -> x509.Name:
    return x509.Name([] if common_name is None else [x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


class Authority:
    """A CA that issues certificates, CRLs and OCSP responses."""

    def __init__(self, common_name: str, kind: str = "ec-secp256r1-ca", issuer: "Authority | None" = None) -> None:
        self.key = key(kind)
        self.name = name(common_name)
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        self.certificate = (issuer or self).issue(common_name, kind, constraints)
        self.pem = self.certificate.public_bytes(Encoding.PEM)

    def issue(
        self,
        common_name: str | None = "shop",
        kind: str = "rsa-2048",
        *extensions: x509.ExtensionType,
        serial: int | None = None,
    ) -> x509.Certificate:
        """A certificate for the key of that kind; it began an hour ago and ends in a year."""
        builder = (
            x509.CertificateBuilder()
            .subject_name(name(common_name))
            .issuer_name(self.name)
            .public_key(key(kind).public_key())
            .serial_number(serial or x509.random_serial_number())
            .not_valid_before(NOW - timedelta(hours=1))
            .not_valid_after(NOW + timedelta(days=365))
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def pem_for(
        self, *extensions: x509.ExtensionType, common_name: str | None = "shop", kind: str = "rsa-2048"
    ) -> bytes:
        return self.issue(common_name, kind, *extensions).public_bytes(Encoding.PEM)

    def crl(self, *revoked: x509.Certificate, end: timedelta = timedelta(days=30)) -> bytes:
        """PEM of a CRL that began a day ago."""
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.name).last_update(NOW - timedelta(days=1))
        builder = builder.next_update(NOW + end)
        for certificate in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number)
            builder = builder.add_revoked_certificate(entry.revocation_date(NOW - timedelta(days=1)).build())
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def staple(
        self,
        certificate: x509.Certificate,
        status: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.GOOD,
        end: timedelta | None = timedelta(days=5),
    ) -> bytes:
        """DER of an OCSP response that began an hour ago."""
        revoked = status is ocsp.OCSPCertStatus.REVOKED
        builder = ocsp.OCSPResponseBuilder().add_response(
            cert=certificate,
            issuer=self.certificate,
            algorithm=hashes.SHA1(),
            cert_status=status,
            this_update=NOW - timedelta(hours=1),
            next_update=None if end is None else NOW + end,
            revocation_time=NOW - timedelta(days=1) if revoked else None,
            revocation_reason=None,
        )
        builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, self.certificate)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.DER)
