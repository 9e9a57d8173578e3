"""Key pairs and trust bundles: tables of cases say what we report, and Envoy is asked whether it agrees."""

import base64
from collections.abc import Mapping
from datetime import timedelta

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import ocsp
from fairlead.certificates import PrivateBytes, read_key_pair, read_trust_bundle
from fairlead.problems import Severity
from hypothesis import given, settings
from hypothesis import strategies as st
from support.envoy_tls import ENVOY, refusal, tls_context
from support.pki import NOW, SHOP, Authority, binary_curve_ca, issued_by_binary_curve_ca, key, key_pem, openssl
from support.secret_cases import CERT, DATA, INTERMEDIATE, KEY, LEAF, OTHER, ROOT, SECRET, STAPLED, Case, block, shown


def pair(certificate: bytes = CERT, private_key: bytes = KEY, **more: bytes) -> dict[str, bytes]:
    return {"tls.crt": certificate, "tls.key": private_key} | ({"tls.ocsp-staple": more["staple"]} if more else {})


def stapled(staple: bytes, certificate: x509.Certificate = LEAF) -> dict[str, bytes]:
    return pair(certificate.public_bytes(Encoding.PEM), staple=staple)


def of_kind(kind: str) -> dict[str, bytes]:
    return pair(ROOT.pem_for(SHOP, kind=kind), key_pem(kind))


def self_signed(private_key: bytes, *arguments: str) -> dict[str, bytes]:
    """A pair as `openssl req -x509` makes it."""
    command = ("req", "-x509", "-key", "f0", "-subj", "/CN=shop", "-days", "3", *arguments)
    return pair(openssl(*command, files=[private_key]), private_key)


def inconsistent_key() -> bytes:
    """An RSA key whose private exponent is another one's: it names the right modulus, and cannot sign."""
    numbers = key("rsa-2048").private_numbers()
    wrong = rsa.RSAPrivateNumbers(
        numbers.p, numbers.q, numbers.d + 2, numbers.dmp1, numbers.dmq1, numbers.iqmp, numbers.public_numbers
    ).private_key(unsafe_skip_rsa_key_validation=True)
    return wrong.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def trustme_pair() -> dict[str, bytes]:
    leaf = trustme.CA().issue_cert("shop.example", "*.shop.example", "10.0.0.7")
    return pair(b"".join(blob.bytes() for blob in leaf.cert_chain_pems), leaf.private_key_pem.bytes())


def key_usage(**allowed: bool) -> x509.KeyUsage:
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    names = (*names, "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
    return x509.KeyUsage(**{name: allowed.get(name, False) for name in names})


def openssl_staple(*more: str) -> bytes:
    """An OCSP response as `openssl ocsp` writes it."""
    index = f"V\t{NOW.year % 100 + 1}0101000000Z\t\t{LEAF.serial_number:040X}\tunknown\t/CN=shop\n".encode()
    command = (
        "ocsp",
        "-index",
        "f0",
        "-CA",
        "f1",
        "-rsigner",
        "f1",
        "-rkey",
        "f2",
        "-issuer",
        "f1",
        "-cert",
        "f3",
        *more,
    )
    files = [index, ROOT.pem, key_pem("ec-secp256r1-ca"), CERT]
    return openssl(*command, "-ndays", "5", "-no_nonce", "-respout", "out", files=files)


REFUSED_KEY = ("error unsupported-key tls.crt",)
UNREADABLE_KEY = ("error unreadable-private-key tls.key",)
UNREADABLE_CERTIFICATE = ("error unreadable-certificate tls.crt",)

PAIRS = {
    # What Envoy takes.
    "generic names": Case(lambda: {"cert": CERT, "key": KEY}),
    "tls names": Case(pair),
    "ASMCredential's names beside others": Case(lambda: {"cert": CERT, "key": KEY, "caCert": b"", "type": b"tls"}),
    "trustme": Case(trustme_pair),
    "chain with intermediate": Case(lambda: pair(INTERMEDIATE.pem_for(SHOP) + INTERMEDIATE.pem)),
    "chain with root": Case(lambda: pair(INTERMEDIATE.pem_for(SHOP) + INTERMEDIATE.pem + ROOT.pem)),
    "RSA 2048": Case(lambda: of_kind("rsa-2048")),
    "RSA 3072": Case(lambda: of_kind("rsa-3072")),
    "EC P-256": Case(lambda: of_kind("ec-secp256r1")),
    "EC P-384": Case(lambda: of_kind("ec-secp384r1")),
    "EC P-521": Case(lambda: of_kind("ec-secp521r1")),
    "Ed25519": Case(lambda: of_kind("ed25519")),
    "PKCS #1 key": Case(lambda: pair(private_key=openssl("rsa", "-traditional", stdin=KEY))),
    "SEC 1 key": Case(lambda: pair(ROOT.pem_for(kind="ec-secp256r1"), openssl("ec", stdin=key_pem("ec-secp256r1")))),
    "key after its parameters": Case(lambda: self_signed(openssl("ecparam", "-name", "prime256v1", "-genkey"))),
    "compressed point": Case(
        lambda: self_signed(openssl("pkey", "-ec_conv_form", "compressed", stdin=key_pem("ec-secp256r1")))
    ),
    "serial number below zero": Case(lambda: self_signed(KEY, "-set_serial", "-5")),
    "text before the certificate": Case(lambda: pair(openssl("x509", "-text", stdin=CERT))),
    "carriage returns": Case(lambda: pair(CERT.replace(b"\n", b"\r\n"), KEY.replace(b"\n", b"\r\n"))),
    "no line break at the end": Case(lambda: pair(CERT.strip(), KEY.strip())),
    "old label": Case(lambda: pair(CERT.replace(b"CERTIFICATE", b"X509 CERTIFICATE"))),
    "EC key that may sign": Case(
        lambda: pair(ROOT.pem_for(key_usage(digital_signature=True), kind="ec-secp256r1"), key_pem("ec-secp256r1"))
    ),
    "URI as only name": Case(
        lambda: pair(
            ROOT.pem_for(
                x509.SubjectAlternativeName([x509.UniformResourceIdentifier("spiffe://td/ns/a/sa/b")]), common_name=None
            )
        )
    ),
    # What we mend.
    "indented": Case(lambda: pair(b"  " + CERT.replace(b"\n", b"\n  ")), envoy_takes=False),
    "byte order mark": Case(lambda: pair(b"\xef\xbb\xbf" + CERT), envoy_takes=False),
    "no line break between": Case(
        lambda: pair(INTERMEDIATE.pem_for(SHOP).strip() + INTERMEDIATE.pem), envoy_takes=False
    ),
    # What is served, but probably not as meant.
    "root before intermediate": Case(
        lambda: pair(INTERMEDIATE.pem_for(SHOP) + ROOT.pem + INTERMEDIATE.pem),
        ("warning chain-order tls.crt", "warning chain-order tls.crt"),
    ),
    "issuer of an unknown curve": Case(lambda: pair(issued_by_binary_curve_ca(KEY) + binary_curve_ca()[0])),
    "issuer of the same name": Case(
        lambda: pair(CERT + Authority("Root", "ec-secp256r1-impostor").pem), ("warning chain-order tls.crt",)
    ),
    "text after the certificate": Case(lambda: pair(CERT + b"to do\n"), ("warning trailing-data tls.crt",)),
    "private key in both": Case(
        lambda: pair(CERT + KEY, CERT + KEY),
        ("warning private-key-in-certificate tls.crt", "warning unused-pem-block tls.key"),
    ),
    "CRL below the certificate": Case(lambda: pair(CERT + ROOT.crl()), ("warning unused-pem-block tls.crt",)),
    "second key": Case(lambda: pair(private_key=KEY + key_pem("rsa-2048-b")), ("warning unused-pem-block tls.key",)),
    "both names, same content": Case(lambda: {"cert": CERT, "key": KEY, **pair()}),
    "both names": Case(
        lambda: {"cert": CERT, "key": KEY, **of_kind("ec-secp256r1")},
        ("warning shadowed-data-key tls.crt", "warning shadowed-data-key tls.key"),
    ),
    # What is in the wrong place or format.
    "swapped": Case(
        lambda: pair(KEY, CERT), ("error wrong-pem-block tls.crt", "error wrong-pem-block tls.key"), served=False
    ),
    "certificate request": Case(
        lambda: pair(openssl("req", "-new", "-key", "f0", "-subj", "/CN=shop", files=[KEY])),
        ("error wrong-pem-block tls.crt",),
        served=False,
    ),
    "trusted certificate": Case(
        lambda: pair(openssl("x509", "-trustout", stdin=CERT)),
        ("error wrong-pem-block tls.crt",),
        served=False,
        envoy_takes=True,
    ),
    "public key": Case(
        lambda: pair(private_key=openssl("pkey", "-pubout", stdin=KEY)),
        ("error wrong-pem-block tls.key",),
        served=False,
    ),
    "DER": Case(
        lambda: pair(openssl("x509", "-outform", "der", stdin=CERT), openssl("pkey", "-outform", "der", stdin=KEY)),
        ("error not-pem tls.crt", "error not-pem tls.key"),
        served=False,
    ),
    "short DER": Case(
        lambda: pair(
            ROOT.pem_for(kind="ec-secp256r1"), openssl("ec", "-outform", "der", stdin=key_pem("ec-secp256r1"))
        ),
        ("error not-pem tls.key",),
        served=False,
    ),
    "base64 twice": Case(lambda: pair(base64.b64encode(CERT)), ("error not-pem tls.crt",), served=False),
    "plain text": Case(lambda: pair(private_key=b"in the vault\n"), ("error not-pem tls.key",), served=False),
    "cut off": Case(lambda: pair(CERT[:300]), ("error broken-pem tls.crt",), served=False),
    "second certificate cut off": Case(lambda: pair(CERT + CERT[:300]), ("error broken-pem tls.crt",), served=False),
    "labels that differ": Case(
        lambda: pair(CERT.replace(b"END CERT", b"END OTHER CERT")), ("error broken-pem tls.crt",), served=False
    ),
    "no base64": Case(lambda: pair(block("CERTIFICATE", b"?")), UNREADABLE_CERTIFICATE, served=False),
    "no certificate": Case(lambda: pair(block("CERTIFICATE")), UNREADABLE_CERTIFICATE, served=False),
    "second is no certificate": Case(lambda: pair(CERT + block("CERTIFICATE")), UNREADABLE_CERTIFICATE, served=False),
    "escaped line breaks": Case(
        lambda: pair(CERT.replace(b"\n", b"\\n")),
        ("warning trailing-data tls.crt", *UNREADABLE_CERTIFICATE),
        served=False,
    ),
    "no key": Case(lambda: pair(private_key=block("PRIVATE KEY")), UNREADABLE_KEY, served=False),
    "OpenSSH key": Case(
        lambda: pair(private_key=key("rsa-2048").private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())),
        UNREADABLE_KEY,
        served=False,
    ),
    "inconsistent RSA key": Case(lambda: pair(private_key=inconsistent_key()), UNREADABLE_KEY, served=False),
    "encrypted PKCS #8 key": Case(
        lambda: pair(private_key=openssl("pkcs8", "-topk8", "-passout", "pass:x", stdin=KEY)),
        ("error encrypted-private-key tls.key",),
        served=False,
    ),
    "encrypted PKCS #1 key": Case(
        lambda: pair(private_key=openssl("rsa", "-traditional", "-aes128", "-passout", "pass:x", stdin=KEY)),
        ("error encrypted-private-key tls.key",),
        served=False,
    ),
    # What Envoy refuses.
    "another key": Case(lambda: pair(private_key=key_pem("rsa-2048-b")), ("error key-mismatch tls.key",), served=False),
    "a key of another kind": Case(
        lambda: pair(private_key=key_pem("ec-secp256r1")), ("error key-mismatch tls.key",), served=False
    ),
    "another key, issuer of an unknown curve": Case(
        lambda: pair(issued_by_binary_curve_ca(KEY) + binary_curve_ca()[0], key_pem("rsa-2048-b")),
        ("error key-mismatch tls.key",),
        served=False,
    ),
    "leaf is not first": Case(
        lambda: pair(INTERMEDIATE.pem + INTERMEDIATE.pem_for(SHOP)),
        ("error key-mismatch tls.key", "warning chain-order tls.crt"),
        served=False,
    ),
    "RSA 1024": Case(lambda: of_kind("rsa-1024"), REFUSED_KEY, served=False),
    "RSA 2047": Case(lambda: of_kind("rsa-2047"), REFUSED_KEY, served=False),
    "RSA 19630": Case(lambda: of_kind("rsa-19630"), REFUSED_KEY, served=False),
    "RSA-PSS": Case(lambda: self_signed(openssl("genpkey", "-algorithm", "RSA-PSS")), REFUSED_KEY, served=False),
    "EC P-224": Case(lambda: of_kind("ec-secp224r1"), REFUSED_KEY, served=False),
    "EC secp256k1": Case(lambda: of_kind("ec-secp256k1"), REFUSED_KEY, served=False),
    "EC unknown to cryptography": Case(
        lambda: self_signed(openssl("ecparam", "-name", "sect283k1", "-genkey")), UNREADABLE_KEY, served=False
    ),
    "EC with explicit parameters": Case(
        lambda: self_signed(openssl("ecparam", "-name", "prime256v1", "-genkey", "-param_enc", "explicit")),
        REFUSED_KEY,
        served=False,
    ),
    "Ed448": Case(lambda: of_kind("ed448"), REFUSED_KEY, served=False),
    "DSA": Case(lambda: of_kind("dsa"), REFUSED_KEY, served=False),
    "EC key that may not sign": Case(
        lambda: pair(ROOT.pem_for(key_usage(key_agreement=True), kind="ec-secp256r1"), key_pem("ec-secp256r1")),
        ("error unsupported-key-usage tls.crt",),
        served=False,
    ),
    "RSA key that may not sign": Case(lambda: pair(ROOT.pem_for(key_usage(key_agreement=True)))),
    "no name": Case(
        lambda: pair(ROOT.pem_for(common_name=None)), ("error certificate-without-name tls.crt",), served=False
    ),
    "e-mail as only name": Case(
        lambda: pair(ROOT.pem_for(x509.SubjectAlternativeName([x509.RFC822Name("a@b.example")]), common_name=None)),
        ("error certificate-without-name tls.crt",),
        served=False,
    ),
    # OCSP staples; without one that Envoy takes, the pair is served all the same.
    "staple": Case(lambda: stapled(ROOT.staple(LEAF))),
    "staple by openssl": Case(lambda: stapled(openssl_staple())),
    "staple by must": Case(lambda: stapled(ROOT.staple(STAPLED), STAPLED)),
    "staple of a revoked certificate": Case(
        lambda: stapled(ROOT.staple(LEAF, ocsp.OCSPCertStatus.REVOKED)), ("warning staple-not-good tls.ocsp-staple",)
    ),
    "staple without end": Case(
        lambda: stapled(ROOT.staple(LEAF, end=None)), ("warning staple-without-end tls.ocsp-staple",)
    ),
    "staple of another certificate": Case(
        lambda: stapled(ROOT.staple(STAPLED)), ("error staple-mismatch tls.ocsp-staple",), envoy_takes=False
    ),
    "staple of another issuer": Case(
        lambda: stapled(OTHER.staple(OTHER.issue(serial=LEAF.serial_number))),
        ("error staple-mismatch tls.ocsp-staple",),
        envoy_takes=True,
    ),
    "staple in base64": Case(
        lambda: stapled(base64.b64encode(ROOT.staple(LEAF))),
        ("error unusable-staple tls.ocsp-staple",),
        envoy_takes=False,
    ),
    "staple with more behind": Case(
        lambda: stapled(ROOT.staple(LEAF) + b"\0"), ("error unusable-staple tls.ocsp-staple",), envoy_takes=False
    ),
    "staple of two": Case(
        lambda: stapled(openssl_staple("-serial", "0x999")),
        ("error unusable-staple tls.ocsp-staple",),
        envoy_takes=False,
    ),
    "staple that is an error": Case(
        lambda: stapled(
            ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER).public_bytes(Encoding.DER)
        ),
        ("error unusable-staple tls.ocsp-staple",),
        envoy_takes=False,
    ),
    "empty staple": Case(lambda: stapled(b""), ("error empty-data-key tls.ocsp-staple",), envoy_takes=True),
    "must-staple without": Case(
        lambda: pair(STAPLED.public_bytes(Encoding.PEM)), ("error must-staple tls.crt",), served=False
    ),
    "must-staple with another's": Case(
        lambda: stapled(ROOT.staple(LEAF), STAPLED),
        ("error staple-mismatch tls.ocsp-staple", "error must-staple tls.crt"),
        served=False,
    ),
}


def raw_pair(data: Mapping[str, bytes]) -> dict[str, object]:
    """What Envoy would be sent if nothing were checked."""
    certificate, private_key = ("cert", "key") if "cert" in data else ("tls.crt", "tls.key")
    return tls_context(data[certificate], data[private_key], data.get("tls.ocsp-staple"))


@pytest.mark.parametrize("case", PAIRS.values(), ids=PAIRS)
def test_key_pairs(case: Case) -> None:
    data = case.data()
    key_pair, problems = read_key_pair(data, SECRET, DATA)
    assert shown(problems) == list(case.problems)
    assert (key_pair is not None) is case.served
    if key_pair is not None:
        # Whatever was around them, only the certificates and one key are passed on.
        assert key_pair.certificate_chain.count(b"-----BEGIN") == len(key_pair.chain)
        assert key_pair.private_key.reveal().count(b"-----BEGIN PRIVATE KEY-----\n") == 1
        assert key_pair.private_key.reveal().count(b"-----BEGIN") == 1


@pytest.mark.e2e
@pytest.mark.skipif(ENVOY is None, reason="there is no envoy")
@pytest.mark.parametrize("case", PAIRS.values(), ids=PAIRS)
def test_envoy_agrees_about_key_pairs(case: Case) -> None:
    data = case.data()
    key_pair, _ = read_key_pair(data, SECRET, DATA)
    if key_pair is not None:
        checked = tls_context(key_pair.certificate_chain, key_pair.private_key.reveal(), key_pair.ocsp_staple)
        assert refusal(checked) is None
    assert case.agrees_with(refusal(raw_pair(data))), refusal(raw_pair(data))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({}, ["error missing-data-key"]),
        ({"token": b"x"}, ["error missing-data-key"]),
        ({"tls.crt": CERT}, ["error missing-data-key"]),
        ({"tls.crt": CERT, "key": KEY}, ["error missing-data-key"]),
        ({"tls.crt": b"", "tls.key": KEY}, ["error empty-data-key tls.crt"]),
        ({"cert": CERT, "key": b""}, ["error empty-data-key key"]),
        (
            {"cert": b"", "key": b"", "tls.crt": CERT, "tls.key": b""},
            ["error empty-data-key " + name for name in ("cert", "key", "tls.key")],
        ),
    ],
)
def test_incomplete_pairs(data: dict[str, bytes], expected: list[str]) -> None:
    key_pair, problems = read_key_pair(data, SECRET, DATA)
    assert (key_pair, shown(problems)) == (None, expected)


def test_empty_generic_names_do_not_hide_tls_names() -> None:
    assert read_key_pair({"cert": b"", "key": b"", **pair()}, SECRET, DATA) == read_key_pair(pair(), SECRET, DATA)


@pytest.mark.parametrize(
    ("data", "message", "hint"),
    [
        ({"tls.crt": CERT}, "cert with key or tls.crt with tls.key is missing; found tls.crt", "Add cert with key or"),
        (of_kind("rsa-1024"), "certificate CN=shop has a key of RSA 1024, which Envoy refuses", "RSA key of 2048"),
        (
            pair(private_key=key_pem("rsa-2048-b")),
            "the private key in tls.key does not belong to certificate CN=shop in tls.crt",
            "Put the key that the certificate was requested with into tls.key",
        ),
        (
            pair(ROOT.pem + CERT),
            "the private key in tls.key does not belong to certificate CN=Root in tls.crt",
            "Put certificate 2 of tls.crt first, because the key belongs to it",
        ),
        (pair(private_key=inconsistent_key()), "the PRIVATE KEY in tls.key cannot be read", "Get it anew"),
        (pair(private_key=binary_curve_ca()[1]), "the EC PRIVATE KEY in tls.key cannot be read", "EC P-256"),
        (pair(private_key=block("OPENSSH PRIVATE KEY")), "the OPENSSH PRIVATE KEY in tls.key", "ssh-keygen"),
        (pair(private_key=block("PRIVATE KEY")), "the PRIVATE KEY in tls.key cannot be read", "Paste the whole"),
        (
            pair(KEY),
            "tls.crt holds a PEM block PRIVATE KEY where a certificate belongs",
            "Put the certificate into tls.crt",
        ),
        (
            pair(CERT[:300]),
            "tls.crt has the line -----BEGIN CERTIFICATE----- without its counterpart",
            "Paste the whole",
        ),
        (pair(CERT.replace(b"\n", b"\\n")), "certificate 1 of 1 in tls.crt cannot be read", "Write real line breaks"),
        (pair(base64.b64encode(CERT)), "tls.crt is encoded in base64 twice", "stringData"),
        (stapled(ROOT.staple(STAPLED)), "tls.ocsp-staple is not for certificate CN=shop", "Fetch it anew"),
    ],
)
def test_messages(data: dict[str, bytes], message: str, hint: str) -> None:
    problem = next(item for item in read_key_pair(data, SECRET, DATA)[1] if item.severity is Severity.ERROR)
    assert problem.message.startswith(message)
    assert hint in problem.hint


def test_details() -> None:
    names = [x509.DNSName("shop.example"), x509.UniformResourceIdentifier("spiffe://td/ns/a/sa/b")]
    certificate = INTERMEDIATE.issue("Shop", "ec-secp256r1", x509.SubjectAlternativeName(names))
    pem = certificate.public_bytes(Encoding.PEM)
    key_pair, _ = read_key_pair(pair(pem + INTERMEDIATE.pem, key_pem("ec-secp256r1")), SECRET, DATA)
    assert key_pair is not None
    leaf, issuer = key_pair.chain
    assert leaf is key_pair.leaf
    assert (leaf.name, leaf.subject, leaf.issuer, leaf.title) == ("tls.crt", "CN=Shop", "CN=Intermediate", "CN=Shop")
    assert (leaf.not_before, leaf.not_after) == (NOW - timedelta(hours=1), NOW + timedelta(days=365))
    assert (leaf.common_name, leaf.dns_names, leaf.uris) == ("Shop", ("shop.example",), ("spiffe://td/ns/a/sa/b",))
    assert (leaf.key_algorithm, issuer.key_algorithm) == ("EC P-256", "EC P-384")
    printed = openssl("x509", "-noout", "-serial", "-fingerprint", "-sha256", stdin=pem).decode()
    assert [line.rsplit("=")[1].replace(":", "").lower().lstrip("0") for line in printed.splitlines()] == [
        leaf.serial,
        leaf.fingerprint.lstrip("0"),
    ]


def test_comments_and_line_ends_make_no_new_version() -> None:
    decorated = pair(b"the shop's\r\n" + CERT.replace(b"\n", b"\r\n"), openssl("rsa", "-traditional", stdin=KEY))
    assert read_key_pair(decorated, SECRET, DATA) == read_key_pair(pair(), SECRET, DATA)


def test_private_bytes_show_nothing() -> None:
    secret = PrivateBytes(b"s3cret")
    assert [repr(secret), str(secret), f"{secret}", f"{secret!r:>24}"] == ["PrivateBytes(<redacted>)"] * 4
    assert secret.reveal() == b"s3cret"
    assert secret == PrivateBytes(b"s3cret")
    assert hash(secret) == hash(PrivateBytes(b"s3cret"))
    assert secret != PrivateBytes(b"other")
    assert secret != b"s3cret"


@pytest.mark.parametrize("case", PAIRS.values(), ids=PAIRS)
def test_no_key_material_is_told(case: Case) -> None:
    data = case.data()
    key_pair, problems = read_key_pair(data, SECRET, DATA)
    told = "".join(problem.message + problem.hint for problem in problems)
    material = [line for name in ("key", "tls.key") for line in data.get(name, b"").decode("latin1").split()]
    assert not [line for line in material if len(line) > 15 and line in told]
    assert "PRIVATE KEY-----" not in repr(key_pair)


@settings(max_examples=400, deadline=None)
@given(
    name=st.sampled_from(["tls.crt", "tls.key", "tls.ocsp-staple", "ca.crt", "ca.crl"]),
    changes=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), min_size=1, max_size=4),
    decoded=st.booleans(),
)
def test_nothing_that_is_damaged_raises(name: str, changes: list[tuple[int, int]], decoded: bool) -> None:
    """A few bytes are changed, in the text or in the DER below it; a fault is a value in any case."""
    data = {**stapled(ROOT.staple(LEAF)), "ca.crt": CERT + ROOT.pem, "ca.crl": ROOT.crl(LEAF)}
    markers = data[name].split(b"-----")
    pem = len(markers) > 1
    damaged = bytearray(base64.b64decode(markers[2]) if pem and decoded else data[name])
    for place, value in changes:
        damaged[place % len(damaged)] = value
    data[name] = bytes(damaged)
    if pem and decoded:
        data[name] = block(markers[1].removeprefix(b"BEGIN ").decode(), base64.b64encode(damaged))
    for read in (read_key_pair, read_trust_bundle):
        result, problems = read(data, SECRET, DATA)
        assert result is not None or any(problem.severity is Severity.ERROR for problem in problems)
