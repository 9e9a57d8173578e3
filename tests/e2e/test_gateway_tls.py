"""TLS of Gateways' servers, by handshakes with a real Envoy: one server for each setting, told apart by their names."""

import asyncio
import base64
import hashlib
import json
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from e2e.objects import FRONT, HTTPS, PROXY_LABELS, PROXY_NAMESPACE, gateway, route, secret_of, service, together
from support.stack import Stack, until
from trustme import KeyType, LeafCert

pytestmark = pytest.mark.e2e

ONE = 9001
AUTHORITY, OTHER = trustme.CA(), trustme.CA()
ALICE, BOB, STRANGER = AUTHORITY.issue_cert("alice.test"), AUTHORITY.issue_cert("bob.test"), OTHER.issue_cert("x.test")


def parts(pair: LeafCert) -> tuple[bytes, bytes]:
    """Certificate chain and private key."""
    return b"".join(blob.bytes() for blob in pair.cert_chain_pems), pair.private_key_pem.bytes()


def parsed(pair: LeafCert) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pair.cert_chain_pems[0].bytes())


def spki(pair: LeafCert) -> str:
    key = parsed(pair).public_key()
    info = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(info).digest()).decode()


def revocations(*revoked: LeafCert) -> bytes:
    """A list of certificates that the authority has revoked."""
    signer = x509.load_pem_x509_certificate(AUTHORITY.cert_pem.bytes())
    now = datetime.now(UTC)
    builder = x509.CertificateRevocationListBuilder(signer.subject, now, now + timedelta(days=1))
    for pair in revoked:
        entry = x509.RevokedCertificateBuilder(parsed(pair).serial_number, now)
        builder = builder.add_revoked_certificate(entry.build())
    key = load_pem_private_key(AUTHORITY.private_key_pem.bytes(), None)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)  # type: ignore[arg-type]


SIMPLE, MUTUAL = "mode: SIMPLE, credentialName: server", "mode: MUTUAL, credentialName: server"
FILES = "serverCertificate: {0}/server.pem, privateKey: {0}/server.key"
SETTINGS = {
    "simple": SIMPLE,
    "optional": "mode: OPTIONAL_MUTUAL, credentialName: server",
    "mutual": MUTUAL,
    "mesh": "mode: ISTIO_MUTUAL",
    "another-ca": f"{MUTUAL}, caCertCredentialName: other",
    "names": f"{MUTUAL}, subjectAltNames: [alice.test]",
    "key": f"{MUTUAL}, verifyCertificateSpki: ['{spki(ALICE)}']",
    "hash": f"{MUTUAL}, verifyCertificateHash: ['{parsed(ALICE).fingerprint(hashes.SHA256()).hex()}']",
    "any": f"{MUTUAL}, insecureSkipVerify: true",
    "at-least": f"{SIMPLE}, minProtocolVersion: TLSV1_3",
    "at-most": f"{SIMPLE}, maxProtocolVersion: TLSV1_2",
    "suite": f"{SIMPLE}, cipherSuites: [ECDHE-ECDSA-AES256-GCM-SHA384]",
    "curve": f"{SIMPLE}, ecdhCurves: [P-384]",
    "two": "mode: SIMPLE, credentialNames: [rsa, server]",
    "files": f"mode: SIMPLE, {FILES}",
    "files-of-clients": f"mode: MUTUAL, {FILES}, caCertificates: {{0}}/ca.pem, caCrl: {{0}}/crl.pem",
    "two-files": f"mode: OPTIONAL_MUTUAL, tlsCertificates: [{{{{{FILES}, caCertificates: {{0}}/ca.pem}}}}, "
    "{{serverCertificate: {0}/rsa.pem, privateKey: {0}/rsa.key}}]",
    "missing-file": "mode: SIMPLE, serverCertificate: {0}/nowhere.pem, privateKey: {0}/nowhere.key",
}


def servers(folder: Path) -> list[str]:
    return [
        f"""
  - port: {{number: 443, name: https-{name}, protocol: HTTPS}}
    hosts: ["{name}.test"]
    tls: {{{settings.format(folder)}}}"""
        for name, settings in SETTINGS.items()
    ]


def server_pair(key: KeyType = KeyType.ECDSA) -> LeafCert:
    return AUTHORITY.issue_cert(*(f"{name}.test" for name in SETTINGS), key_type=key)


def authorities(name: str, ca: trustme.CA) -> str:
    text = base64.b64encode(ca.cert_pem.bytes()).decode()
    return (
        f"apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}-cacert, namespace: {PROXY_NAMESPACE}}}\n"
        f"data: {{cacert: {text}}}"
    )


@dataclass
class Tls:
    stack: Stack
    files: Path

    def write(self, name: str, content: bytes) -> None:
        """A file of the proxy, replaced as careful writers do it."""
        beside = self.files / f".{name}"
        beside.write_bytes(content)
        beside.rename(self.files / name)

    async def seen(self, name: str, **settings: Any) -> "Seen":
        """What comes of a request to a server; raises `OSError` when it refuses the handshake."""
        return await asyncio.to_thread(self._seen, f"{name}.test", **settings)

    def _seen(
        self,
        host: str,
        *,
        client: LeafCert | None = None,
        version: ssl.TLSVersion | None = None,
        suites: str = "",
        curve: str = "",
    ) -> "Seen":
        context = ssl.create_default_context(cadata=AUTHORITY.cert_pem.bytes().decode())
        if version is not None:
            context.minimum_version = context.maximum_version = version
        if suites:
            context.set_ciphers(suites)
        if curve:
            context.set_ecdh_curve(curve)
        if client is not None:
            client.configure_cert(context)
        with (
            socket.create_connection((self.stack.address, HTTPS), timeout=5) as plain,
            context.wrap_socket(plain, server_hostname=host) as connection,
        ):
            # With TLS 1.3 a client learns with the answer only that its certificate is not taken.
            connection.sendall(f"GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n".encode())
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
            if not answer.startswith(b"HTTP/1.1 200"):
                raise ConnectionError(answer.decode(errors="replace"))
            _, _, body = answer.partition(b"\r\n\r\n")
            suite, peer = connection.cipher(), connection.getpeercert(binary_form=True)
            assert suite is not None
            assert peer is not None
            return Seen(
                connection.version() or "",
                suite[0],
                x509.load_der_x509_certificate(peer),
                json.loads(body[body.index(b"{") : body.rindex(b"}") + 1])["headers"],
            )


@dataclass
class Seen:
    """What a client sees, and what the backend is told of it."""

    version: str
    suite: str
    certificate: x509.Certificate
    headers: dict[str, str]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tls(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Tls]:
    async with Stack(tmp_path_factory.mktemp("tls")) as stack:
        files = stack.tmp_path / "files"
        files.mkdir()
        found = Tls(stack, files)
        with_rsa, with_ec = server_pair(KeyType.RSA), server_pair()
        for name, pair in (("server", with_ec), ("rsa", with_rsa)):
            certificate, key = parts(pair)
            found.write(f"{name}.pem", certificate)
            found.write(f"{name}.key", key)
        found.write("ca.pem", AUTHORITY.cert_pem.bytes())
        found.write("crl.pem", revocations(BOB))
        stack.write(
            "objects.yaml",
            together(
                FRONT,
                service("one", 80, ONE),
                gateway(*servers(files)),
                *(route(name, f"{name}.test", "one") for name in SETTINGS),
                secret_of("server", *parts(with_ec)),
                secret_of("rsa", *parts(with_rsa)),
                secret_of("workload-certificate", *parts(with_ec)),
                authorities("workload-certificate", AUTHORITY),
                authorities("server", AUTHORITY),
                authorities("other", OTHER),
            ),
        )
        await stack.serve()
        await stack.envoy(namespace=PROXY_NAMESPACE, labels=PROXY_LABELS)
        await stack.backend("one", ONE)
        await until(lambda: found.seen("simple"), "requests are answered")
        yield found


in_tls = pytest.mark.asyncio(loop_scope="module")
mark = pytest.mark
V2, V3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3

HANDSHAKES: list[tuple[pytest.MarkDecorator, str, dict[str, Any], bool]] = [
    # the field, the server, how the client asks, whether it is let in
    (mark.istio_fields("Gateway.servers[].tls.{mode,credentialName}"), "simple", {}, True),
    (mark.istio_fields("Gateway.servers[].tls.mode"), "optional", {}, True),
    (mark.istio_fields("Gateway.servers[].tls.mode"), "optional", {"client": ALICE}, True),
    (mark.istio_fields("Gateway.servers[].tls.mode"), "optional", {"client": STRANGER}, False),
    (mark.istio_fields("Gateway.servers[].tls.mode"), "mutual", {}, False),
    (mark.istio_fields("Gateway.servers[].tls.mode"), "mutual", {"client": ALICE}, True),
    (mark.istio_fields("Gateway.servers[].tls.mode"), "mutual", {"client": STRANGER}, False),
    (mark.istio_fields("Gateway.servers[].tls.mode"), "mesh", {}, False),
    (mark.istio_fields("Gateway.servers[].tls.mode"), "mesh", {"client": ALICE}, True),
    (mark.istio_fields("Gateway.servers[].tls.mode"), "mesh", {"client": STRANGER}, False),
    (mark.istio_fields("Gateway.servers[].tls.caCertCredentialName"), "another-ca", {"client": STRANGER}, True),
    (mark.istio_fields("Gateway.servers[].tls.caCertCredentialName"), "another-ca", {"client": ALICE}, False),
    (mark.istio_fields("Gateway.servers[].tls.subjectAltNames[]"), "names", {"client": ALICE}, True),
    (mark.istio_fields("Gateway.servers[].tls.subjectAltNames[]"), "names", {"client": BOB}, False),
    (mark.istio_fields("Gateway.servers[].tls.verifyCertificateSpki[]"), "key", {"client": ALICE}, True),
    (mark.istio_fields("Gateway.servers[].tls.verifyCertificateSpki[]"), "key", {"client": BOB}, False),
    (mark.istio_fields("Gateway.servers[].tls.verifyCertificateHash[]"), "hash", {"client": ALICE}, True),
    (mark.istio_fields("Gateway.servers[].tls.verifyCertificateHash[]"), "hash", {"client": BOB}, False),
    (mark.istio_fields("Gateway.servers[].tls.insecureSkipVerify"), "any", {"client": STRANGER}, True),
    (mark.istio_fields("Gateway.servers[].tls.insecureSkipVerify"), "any", {}, False),
    (mark.istio_fields("Gateway.servers[].tls.minProtocolVersion"), "at-least", {"version": V3}, True),
    (mark.istio_fields("Gateway.servers[].tls.minProtocolVersion"), "at-least", {"version": V2}, False),
    (mark.istio_fields("Gateway.servers[].tls.maxProtocolVersion"), "at-most", {"version": V2}, True),
    (mark.istio_fields("Gateway.servers[].tls.maxProtocolVersion"), "at-most", {"version": V3}, False),
    (
        mark.istio_fields("Gateway.servers[].tls.cipherSuites[]"),
        "suite",
        {"version": V2, "suites": "ECDHE-ECDSA-AES256-GCM-SHA384"},
        True,
    ),
    (
        mark.istio_fields("Gateway.servers[].tls.cipherSuites[]"),
        "suite",
        {"version": V2, "suites": "ECDHE-ECDSA-AES128-GCM-SHA256"},
        False,
    ),
    (mark.istio_fields("Gateway.servers[].tls.ecdhCurves[]"), "curve", {"curve": "secp384r1"}, True),
    (mark.istio_fields("Gateway.servers[].tls.ecdhCurves[]"), "curve", {"curve": "prime256v1"}, False),
    (mark.istio_fields("Gateway.servers[].tls.{serverCertificate,privateKey}"), "files", {}, True),
    (mark.istio_fields("Gateway.servers[].tls.{serverCertificate,privateKey}"), "missing-file", {}, False),
    (mark.istio_fields("Gateway.servers[].tls.caCertificates"), "files-of-clients", {"client": ALICE}, True),
    (mark.istio_fields("Gateway.servers[].tls.caCertificates"), "files-of-clients", {"client": STRANGER}, False),
    (mark.istio_fields("Gateway.servers[].tls.caCrl"), "files-of-clients", {"client": BOB}, False),
    (mark.istio_fields("Gateway.servers[].tls.tlsCertificates[].caCertificates"), "two-files", {"client": ALICE}, True),
    (
        mark.istio_fields("Gateway.servers[].tls.tlsCertificates[].caCertificates"),
        "two-files",
        {"client": STRANGER},
        False,
    ),
]


@in_tls
@pytest.mark.parametrize(
    ("name", "client", "let_in"),
    [pytest.param(*row, id=f"{row[0]}-{number}", marks=shown) for number, (shown, *row) in enumerate(HANDSHAKES)],
)
async def test_handshake(tls: Tls, name: str, client: dict[str, Any], let_in: bool) -> None:
    try:
        await tls.seen(name, **client)
    except (ssl.SSLError, ConnectionResetError):
        assert not let_in
    else:
        assert let_in


@in_tls
@pytest.mark.parametrize(
    "name",
    [
        pytest.param("two", marks=pytest.mark.istio_fields("Gateway.servers[].tls.credentialNames[]")),
        pytest.param(
            "two-files",
            marks=pytest.mark.istio_fields("Gateway.servers[].tls.tlsCertificates[].{serverCertificate,privateKey}"),
        ),
    ],
)
async def test_of_two_certificates_the_client_chooses(tls: Tls, name: str) -> None:
    for algorithm, key in (("ECDSA", ec.EllipticCurvePublicKey), ("RSA", rsa.RSAPublicKey)):
        found = await tls.seen(name, version=V2, suites=f"ECDHE-{algorithm}-AES128-GCM-SHA256")
        assert isinstance(found.certificate.public_key(), key)


@in_tls
@pytest.mark.istio_fields("Gateway.servers[].tls.{serverCertificate,privateKey}")
async def test_files_are_read_anew_when_they_are_replaced(tls: Tls) -> None:
    before = (await tls.seen("files")).certificate.serial_number
    pair = server_pair()
    certificate, key = parts(pair)
    tls.write("server.key", key)
    tls.write("server.pem", certificate)

    async def is_new() -> bool:
        return (await tls.seen("files")).certificate.serial_number == parsed(pair).serial_number

    await until(is_new, f"another certificate than {before} is presented")


@in_tls
async def test_services_are_told_of_the_client_certificate(tls: Tls) -> None:
    found = await tls.seen("mutual", client=ALICE)
    assert "DNS=alice.test" in found.headers["x-forwarded-client-cert"]
    assert "x-forwarded-client-cert" not in (await tls.seen("optional")).headers
