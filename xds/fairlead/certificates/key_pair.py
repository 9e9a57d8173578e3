"""Reading a certificate chain with its private key."""

import warnings
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_der_private_key
from cryptography.x509 import ocsp

from fairlead.certificates.decode import UNREADABLE, Certificate, encode, extension, read_certificates, reason
from fairlead.certificates.findings import Findings
from fairlead.certificates.pem import Block, explain_body, read_blocks
from fairlead.certificates.values import KeyPair, PrivateBytes, RevocationDetails
from fairlead.problems import FieldPath, ObjectKey, Problem


class _PairNames(NamedTuple):
    certificate: str
    private_key: str
    staple: str | None


_PAIRS = (_PairNames("cert", "key", None), _PairNames("tls.crt", "tls.key", "tls.ocsp-staple"))
"""In order of precedence, as in Istio; the first is ASMCredential's, too."""

_ACCEPTED_KEYS = "an RSA key of 2048 to 16384 bits, for EC P-256, P-384 or P-521, or for Ed25519"


def read_key_pair(
    data: Mapping[str, bytes], key: ObjectKey, data_path: FieldPath
) -> tuple[KeyPair | None, tuple[Problem, ...]]:
    """Read a server's or client's certificate chain and private key from an object's data.

    ``cert`` and ``key`` are taken when both have content, else ``tls.crt`` and ``tls.key`` with ``tls.ocsp-staple``.
    The pair is None when Envoy would refuse it. A staple that Envoy would refuse is an error as well, but the pair is
    returned without it, since handshakes do without, unless the certificate demands one (RFC 7633).

    `data` maps names to content that is no longer in base64; `data_path` is the field that holds it.
    """
    findings = Findings(key, data_path)
    names = _choose_pair(data, findings)
    if names is None:
        return None, findings.problems
    certificates = read_certificates(read_blocks(data, names.certificate, findings), names.certificate, findings)
    private_key = _read_private_key(read_blocks(data, names.private_key, findings), names.private_key, findings)
    if findings.failed() or private_key is None:
        return None, findings.problems
    _check_leaf(certificates[0], names.certificate, findings)
    _check_match(certificates, private_key, names, findings)
    _check_order(certificates, names.certificate, findings)
    refused = findings.failed()
    staple = None
    if names.staple is not None and names.staple in data:
        staple = _read_staple(data[names.staple], names.staple, certificates[0], findings)
    if staple is None and _must_staple(certificates[0].parsed):
        refused = True
        message = f"certificate {certificates[0].title} demands an OCSP staple, and there is none to send with it"
        hint = "Put an OCSP response for it, in DER, under tls.ocsp-staple beside tls.crt and tls.key"
        findings.error("must-staple", names.certificate, message, hint)
    if refused:
        return None, findings.problems
    pair = KeyPair(
        certificate_chain=encode(certificates),
        private_key=PrivateBytes(private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())),
        ocsp_staple=data[staple.name] if staple is not None else None,
        chain=tuple(certificate.details for certificate in certificates),
        staple=staple,
    )
    return pair, findings.problems


def _choose_pair(data: Mapping[str, bytes], findings: Findings) -> _PairNames | None:
    complete = [names for names in _PAIRS if data.get(names.certificate) and data.get(names.private_key)]
    if not complete:
        wanted = " or ".join(f"{names.certificate} with {names.private_key}" for names in _PAIRS)
        findings.missing(data, [name for names in _PAIRS for name in (names.certificate, names.private_key)], wanted)
        return None
    chosen, *others = complete
    for other in others:
        for mine, theirs in ((chosen.certificate, other.certificate), (chosen.private_key, other.private_key)):
            if data[mine] != data[theirs]:
                message = f"{theirs} is not used, because {mine} comes first"
                findings.warning("shadowed-data-key", theirs, message, f"Remove one of {mine} and {theirs}")
    return chosen


def _check_leaf(leaf: Certificate, name: str, findings: Findings) -> None:
    """Report why Envoy refuses the certificate as its own."""
    details = leaf.details
    if not leaf.key_accepted:
        message = f"certificate {leaf.title} has a key of {details.key_algorithm}, which Envoy refuses"
        findings.error("unsupported-key", name, message, f"Issue it for {_ACCEPTED_KEYS}")
    usage = extension(leaf.parsed, x509.KeyUsage)
    if details.key_algorithm.startswith("EC") and usage is not None and not usage.digital_signature:
        message = f"certificate {leaf.title} has an EC key that may not sign, which Envoy refuses"
        findings.error("unsupported-key-usage", name, message, "Issue it with digitalSignature among its key usage")
    alternatives = details.dns_names or details.ip_addresses or details.uris
    if details.common_name == "" or (details.common_name is None and not alternatives):
        message = f"certificate {leaf.title} has no common name and no DNS, IP or URI name, which Envoy refuses"
        hint = "Issue it with the host names that it is for as subject alternative names"
        findings.error("certificate-without-name", name, message, hint)


def _must_staple(certificate: x509.Certificate) -> bool:
    # Envoy compares the whole extension with this one feature.
    return list(extension(certificate, x509.TLSFeature) or ()) == [x509.TLSFeatureType.status_request]


def _check_match(
    certificates: Sequence[Certificate], private_key: PrivateKeyTypes, names: _PairNames, findings: Findings
) -> None:
    leaf = certificates[0]
    if not leaf.key_accepted or _has_public_key(leaf, private_key):
        return
    message = f"the private key in {names.private_key} does not belong to certificate {leaf.title}"
    owner = next((number for number, item in enumerate(certificates, 1) if _has_public_key(item, private_key)), None)
    hint = f"Put the key that the certificate was requested with into {names.private_key}"
    if owner is not None:
        hint = f"Put certificate {owner} of {names.certificate} first, because the key belongs to it"
    findings.error("key-mismatch", names.private_key, f"{message} in {names.certificate}", hint)


def _has_public_key(certificate: Certificate, private_key: PrivateKeyTypes) -> bool:
    try:
        return certificate.parsed.public_key() == private_key.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return False


def _check_order(certificates: Sequence[Certificate], name: str, findings: Findings) -> None:
    for number, (child, parent) in enumerate(pairwise(certificates), 1):
        if not _issued_by(child.parsed, parent.parsed):
            message = f"certificate {number + 1} of {name}, {parent.title}, did not issue certificate {number}"
            hint = "Put the certificate that the key belongs to first, and after each the one that issued it"
            findings.warning("chain-order", name, f"{message}, {child.title}", hint)


def _issued_by(child: x509.Certificate, parent: x509.Certificate) -> bool:
    try:
        child.verify_directly_issued_by(parent)
    except (ValueError, InvalidSignature):
        return False
    except (TypeError, UnsupportedAlgorithm):
        pass  # the names fit; the signature is of a kind that only peers can judge
    return True


def _read_private_key(blocks: Sequence[Block], name: str, findings: Findings) -> PrivateKeyTypes | None:
    key = next((block for block in blocks if block.is_private_key), None)
    if key is None:
        if blocks:
            message = f"{name} holds a PEM block {blocks[0].label} where a private key belongs"
            findings.error("wrong-pem-block", name, message, f"Put the private key into {name}")
        return None
    for block in blocks:
        # openssl ecparam writes EC PARAMETERS before the key; they say nothing that the key does not.
        if block is not key and block.label != "EC PARAMETERS":
            message = f"{name} holds a PEM block {block.label} beside the private key, which is ignored"
            findings.warning("unused-pem-block", name, message, "Remove it")
    # The second is how the formats before PKCS #8 say it, in a header.
    if key.label == "ENCRYPTED PRIVATE KEY" or b"Proc-Type: 4,ENCRYPTED" in key.body:
        message = f"the private key in {name} is encrypted, and there is no password for it"
        findings.error("encrypted-private-key", name, message, "Decrypt it: openssl pkey -in FILE -out FILE")
        return None
    # What cryptography says of a fault is not told, because no part of a key may come into a message.
    hint = "Convert it: ssh-keygen -p -m PEM -f FILE" if key.label.startswith("OPENSSH") else explain_body(key)
    try:
        # The full check of an RSA key takes 40 ms for 2048 bits and seconds for 8192, since it tests primality.
        private_key = load_der_private_key(key.der(), None, unsafe_skip_rsa_key_validation=True)
        if not isinstance(private_key, rsa.RSAPrivateKey) or _is_consistent(private_key.private_numbers()):
            return private_key
        hint = "Get it anew from where it was made: its numbers do not fit each other"
    except UnsupportedAlgorithm:
        hint = f"Have a certificate issued for {_ACCEPTED_KEYS}"
    except UNREADABLE:
        pass
    findings.error("unreadable-private-key", name, f"the {key.label} in {name} cannot be read", hint)
    return None


def _is_consistent(numbers: rsa.RSAPrivateNumbers) -> bool:
    """Whether the numbers of an RSA key fit each other: what BoringSSL checks, which does not test primality."""
    p, q, d, e = numbers.p, numbers.q, numbers.d, numbers.public_numbers.e
    return (
        p > 1
        and q > 1
        and p * q == numbers.public_numbers.n
        and d * e % (p - 1) == d * e % (q - 1) == 1
        and numbers.dmp1 == d % (p - 1)
        and numbers.dmq1 == d % (q - 1)
        and numbers.iqmp * q % p == 1
    )


def _read_staple(response: bytes, name: str, leaf: Certificate, findings: Findings) -> RevocationDetails | None:
    """Dates of an OCSP response; None, and an error, when Envoy or clients would refuse it."""
    hint = "Fetch it anew with openssl ocsp -respout FILE, and use the file as it is"
    if not response:
        findings.error("empty-data-key", name, f"{name} is empty", "Fill it, or remove it")
        return None
    try:
        # Serial numbers that are not positive make cryptography warn, see read_certificates.
        with warnings.catch_warnings(action="ignore"):
            answer = _only_answer(ocsp.load_der_ocsp_response(response))
            serial = f"{answer.serial_number:x}"
        issuer = hashes.Hash(answer.hash_algorithm)
        issuer.update(leaf.parsed.issuer.public_bytes())
        fits = serial == leaf.details.serial and issuer.finalize() == answer.issuer_name_hash
        status = answer.certificate_status
        details = RevocationDetails(
            name=name,
            title=f"OCSP staple of {leaf.title}",
            this_update=answer.this_update_utc,
            next_update=answer.next_update_utc,
        )
    except UNREADABLE as fault:
        findings.error("unusable-staple", name, f"{name} is no OCSP response that Envoy takes: {reason(fault)}", hint)
        return None
    if not fits:
        findings.error("staple-mismatch", name, f"{name} is not for certificate {leaf.title}", hint)
        return None
    if details.next_update is None:
        message = f"{name} says no next update, so that Envoy takes it for expired and does not send it"
        findings.warning("staple-without-end", name, message, "Ask the CA for responses that say their next update")
    if status is not ocsp.OCSPCertStatus.GOOD:
        message = f"{name} says that certificate {leaf.title} is {status.name.lower()}"
        findings.warning("staple-not-good", name, message, "Replace the certificate, or fetch the response anew")
    return details


def _only_answer(response: ocsp.OCSPResponse) -> ocsp.OCSPSingleResponse:
    """The one certificate's status that the response holds; raises ValueError when Envoy would not read it."""
    if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        raise ValueError(f"it is the answer {response.response_status.name}")
    answers = list(response.responses)
    if len(answers) != 1:
        raise ValueError(f"it answers for {len(answers)} certificates instead of one")
    return answers[0]
