"""CA certificates and CRLs: a table of cases says what we report, and Envoy is asked whether it agrees."""

import ssl
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from socket import create_connection

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from fairlead.certificates import read_trust_bundle
from support.envoy_tls import ENVOY, refusal, serving, tls_context
from support.pki import Authority, binary_curve_ca, key_pem, openssl
from support.secret_cases import CERT, DATA, INTERMEDIATE, KEY, LEAF, OTHER, ROOT, SECRET, Case, block, shown


def v1_root() -> bytes:
    """A certificate from before there were extensions; Python's openssl may be too new to make it."""
    request = openssl("req", "-new", "-key", "f0", "-subj", "/CN=Old", files=[KEY])
    return openssl("x509", "-req", "-key", "f0", "-days", "3", stdin=request, files=[KEY])


def openssl_crl() -> bytes:
    """A CRL as `openssl ca -gencrl` writes it."""
    config = b"[ca]\ndefault_ca=shop\n[shop]\ndatabase=f3\ndefault_md=sha256\n"
    files = [config, ROOT.pem, key_pem("ec-secp256r1-ca"), b""]
    return openssl("ca", "-config", "f0", "-gencrl", "-crldays", "9", "-cert", "f1", "-keyfile", "f2", files=files)


BUNDLES = {
    "generic names": Case(lambda: {"cacert": ROOT.pem, "crl": ROOT.crl()}),
    "tls names": Case(lambda: {"ca.crt": ROOT.pem, "ca.crl": ROOT.crl()}),
    "generic names come first": Case(lambda: {"cacert": ROOT.pem, "ca.crt": b"?", "ca.crl": b"?"}),
    "several": Case(lambda: {"ca.crt": ROOT.pem + INTERMEDIATE.pem + OTHER.pem}),
    "the same twice": Case(lambda: {"ca.crt": ROOT.pem * 2}),
    "no line break between": Case(lambda: {"ca.crt": ROOT.pem.strip() + OTHER.pem}, envoy_takes=False),
    "CRL by openssl": Case(lambda: {"ca.crt": ROOT.pem, "ca.crl": openssl_crl()}),
    "CRL among the certificates": Case(lambda: {"ca.crt": ROOT.pem + ROOT.crl()}),
    "CRLs of all": Case(lambda: {"cacert": ROOT.pem + OTHER.pem, "crl": OTHER.crl() + ROOT.crl(LEAF)}),
    "version 1": Case(lambda: {"ca.crt": v1_root()}),
    "key below": Case(lambda: {"ca.crt": ROOT.pem + KEY}, ("warning private-key-in-certificate ca.crt",)),
    "no CA": Case(lambda: {"ca.crt": CERT}, ("warning not-a-ca ca.crt",)),
    "CA without CRL": Case(
        lambda: {"ca.crt": ROOT.pem + OTHER.pem, "ca.crl": ROOT.crl()}, ("warning ca-without-crl ca.crt",)
    ),
    "CA of an unknown curve": Case(
        lambda: {"ca.crt": ROOT.pem + binary_curve_ca()[0], "ca.crl": ROOT.crl()},
        ("warning ca-without-crl ca.crt",),
    ),
    "CRL without CA": Case(
        lambda: {"ca.crt": ROOT.pem, "ca.crl": ROOT.crl() + OTHER.crl()}, ("warning crl-without-ca ca.crl",)
    ),
    "CRL of an impostor": Case(
        lambda: {"cacert": ROOT.pem, "crl": Authority("Root", "ec-secp256r1-impostor").crl()},
        ("warning ca-without-crl cacert", "warning crl-without-ca crl"),
    ),
    "nothing": Case(lambda: {"ca.crt": block("CERTIFICATE")}, ("error unreadable-certificate ca.crt",), served=False),
    "second is nothing": Case(
        lambda: {"ca.crt": ROOT.pem + block("CERTIFICATE")}, ("error unreadable-certificate ca.crt",), served=False
    ),
    "plain text": Case(lambda: {"ca.crt": b"see vault"}, ("error not-pem ca.crt",), served=False),
    "DER": Case(
        lambda: {"ca.crt": ROOT.certificate.public_bytes(Encoding.DER)}, ("error not-pem ca.crt",), served=False
    ),
    "only a key": Case(lambda: {"ca.crt": KEY}, ("error wrong-pem-block ca.crt",), served=False),
    "only a CRL": Case(lambda: {"ca.crt": ROOT.crl()}, ("error wrong-pem-block ca.crt",), served=False),
    # Envoy takes these, and then lets in nobody, or those whom the list shuts out.
    "CRL in DER": Case(
        lambda: {"ca.crt": ROOT.pem, "ca.crl": openssl("crl", "-outform", "der", stdin=ROOT.crl())},
        ("error not-pem ca.crl",),
        served=False,
        envoy_takes=True,
    ),
    "certificate for a CRL": Case(
        lambda: {"ca.crt": ROOT.pem, "ca.crl": ROOT.pem},
        ("error wrong-pem-block ca.crl",),
        served=False,
        envoy_takes=True,
    ),
    "empty CRL": Case(
        lambda: {"ca.crt": ROOT.pem, "ca.crl": b""}, ("error empty-data-key ca.crl",), served=False, envoy_takes=True
    ),
    "unreadable CRL": Case(
        lambda: {"ca.crt": ROOT.pem, "ca.crl": block("X509 CRL")}, ("error unreadable-crl ca.crl",), served=False
    ),
}


def raw_bundle(data: Mapping[str, bytes]) -> dict[str, object]:
    """What Envoy would be sent if nothing were checked."""
    ca, crl = ("cacert", "crl") if "cacert" in data else ("ca.crt", "ca.crl")
    return tls_context(CERT, KEY, ca=data[ca], crl=data.get(crl))


@pytest.mark.parametrize("case", BUNDLES.values(), ids=BUNDLES)
def test_trust_bundles(case: Case) -> None:
    bundle, problems = read_trust_bundle(case.data(), SECRET, DATA)
    assert shown(problems) == list(case.problems)
    assert (bundle is not None) is case.served
    if bundle is not None:
        assert bundle.ca_certificates.count(b"-----BEGIN") == len(bundle.authorities)
        assert (bundle.crl or b"").count(b"-----BEGIN X509 CRL-----\n") == len(bundle.revocation_lists)


@pytest.mark.e2e
@pytest.mark.skipif(ENVOY is None, reason="there is no envoy")
@pytest.mark.parametrize("case", BUNDLES.values(), ids=BUNDLES)
def test_envoy_agrees_about_trust_bundles(case: Case) -> None:
    data = case.data()
    bundle, _ = read_trust_bundle(data, SECRET, DATA)
    if bundle is not None:
        assert refusal(tls_context(CERT, KEY, ca=bundle.ca_certificates, crl=bundle.crl)) is None
    assert case.agrees_with(refusal(raw_bundle(data))), refusal(raw_bundle(data))


@pytest.mark.parametrize(
    ("data", "names", "expected"),
    [
        ({}, ("cacert", "ca.crt"), ["error missing-data-key"]),
        ({"tls.crt": CERT}, ("cacert", "ca.crt"), ["error missing-data-key"]),
        ({"cacert": ROOT.pem}, ("ca.crt",), ["error missing-data-key"]),
        ({"cacert": b""}, ("cacert", "ca.crt"), ["error empty-data-key cacert"]),
    ],
)
def test_missing_bundles(data: dict[str, bytes], names: tuple[str, ...], expected: list[str]) -> None:
    bundle, problems = read_trust_bundle(data, SECRET, DATA, names)
    assert (bundle, shown(problems)) == (None, expected)


def test_bundle_under_another_name() -> None:
    bundle, problems = read_trust_bundle({"caCert": ROOT.pem, "crl": b"?"}, SECRET, DATA, ("caCert",))
    assert problems == ()
    assert bundle is not None
    assert (bundle.ca_certificates, bundle.crl) == (ROOT.pem, None)
    assert [details.name for details in bundle.authorities] == ["caCert"]


def test_details_of_revocation_lists() -> None:
    first, second = OTHER.crl(), ROOT.crl()
    bundle, _ = read_trust_bundle({"ca.crt": OTHER.pem + ROOT.pem + first, "ca.crl": second}, SECRET, DATA)
    assert bundle is not None
    assert bundle.ca_certificates == OTHER.pem + ROOT.pem
    assert bundle.crl == first + second
    assert [(item.name, item.title) for item in bundle.revocation_lists] == [
        ("ca.crt", "CRL of CN=Other"),
        ("ca.crl", "CRL of CN=Root"),
    ]


@pytest.mark.e2e
@pytest.mark.skipif(ENVOY is None, reason="there is no envoy")
def test_whom_envoy_lets_in(tmp_path: Path) -> None:
    """The consequences that problems of CRLs foretell."""
    expired = ROOT.crl(end=timedelta(hours=-1))
    bundles = {
        "no CRL": {"ca.crt": ROOT.pem},
        "CRL": {"ca.crt": ROOT.pem, "ca.crl": ROOT.crl()},
        "revoked": {"ca.crt": ROOT.pem, "ca.crl": ROOT.crl(LEAF)},
        "revoked, by a CRL among the certificates": {"ca.crt": ROOT.pem + ROOT.crl(LEAF)},
        "ca-without-crl": {"ca.crt": OTHER.pem + ROOT.pem, "ca.crl": OTHER.crl()},
        "ca-without-crl, another CA": {"ca.crt": OTHER.pem + ROOT.pem, "ca.crl": ROOT.crl()},
        "revocation-expired": {"ca.crt": ROOT.pem, "ca.crl": expired},
        "not-a-ca": {"ca.crt": CERT},
    }
    contexts = {}
    for name, data in bundles.items():
        bundle, _ = read_trust_bundle(data, SECRET, DATA)
        assert bundle is not None
        contexts[name] = tls_context(CERT, KEY, ca=bundle.ca_certificates, crl=bundle.crl)
    (tmp_path / "client.pem").write_bytes(CERT + KEY)
    with serving(contexts) as ports:
        admitted = [name for name, port in ports.items() if echoes(port, tmp_path / "client.pem")]
    assert set(admitted) == {"no CRL", "CRL", "ca-without-crl, another CA", "not-a-ca"}


def echoes(port: int, client: Path) -> bool:
    """Whether a client with that certificate gets its bytes back."""
    context = ssl.create_default_context(cadata=ROOT.pem.decode())
    context.load_cert_chain(client)
    with create_connection(("127.0.0.1", port), timeout=10) as connection:
        try:
            with context.wrap_socket(connection, server_hostname="shop.example") as stream:
                stream.sendall(b"hello")
                return stream.recv(5) == b"hello"
        except (ssl.SSLError, ConnectionError):
            return False
