"""Reading CA certificates with their revocation lists."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding

from fairlead.certificates.decode import UNREADABLE, Certificate, encode, extension, read_certificates, reason
from fairlead.certificates.findings import Findings
from fairlead.certificates.pem import Block, explain_body, read_blocks
from fairlead.certificates.values import RevocationDetails, TrustBundle
from fairlead.problems import FieldPath, ObjectKey, Problem

_CRL_NAMES = {"cacert": "crl", "ca.crt": "ca.crl"}
"""Name of the revocation list that belongs to a CA certificate's name."""


class _RevocationList(NamedTuple):
    parsed: x509.CertificateRevocationList
    details: RevocationDetails


def read_trust_bundle(
    data: Mapping[str, bytes], key: ObjectKey, data_path: FieldPath, names: Sequence[str] = ("cacert", "ca.crt")
) -> tuple[TrustBundle | None, tuple[Problem, ...]]:
    """Read CA certificates and their revocation lists from an object's data.

    The first of `names` that has content is taken, with the list that goes with it: ``crl`` with ``cacert``,
    ``ca.crl`` with ``ca.crt``. The bundle is None when Envoy would refuse it, and also when its list cannot be read,
    because without it Envoy would let in those whom it shuts out.

    `data` maps names to content that is no longer in base64; `data_path` is the field that holds it.
    """
    findings = Findings(key, data_path)
    name = next((name for name in names if data.get(name)), None)
    if name is None:
        findings.missing(data, names, " or ".join(names))
        return None, findings.problems
    blocks = read_blocks(data, name, findings)
    certificates = read_certificates(blocks, name, findings, beside=("X509 CRL",))
    lists = _read_revocation_lists([block for block in blocks if block.label == "X509 CRL"], name, findings)
    crl_name = _CRL_NAMES.get(name)
    if crl_name is not None and crl_name in data:
        lists += _read_revocation_lists(read_blocks(data, crl_name, findings), crl_name, findings)
    if findings.failed():
        return None, findings.problems
    _check_authorities(certificates, lists, name, findings)
    bundle = TrustBundle(
        ca_certificates=encode(certificates),
        crl=b"".join(item.parsed.public_bytes(Encoding.PEM) for item in lists) or None,
        authorities=tuple(certificate.details for certificate in certificates),
        revocation_lists=tuple(item.details for item in lists),
    )
    return bundle, findings.problems


def _read_revocation_lists(blocks: Sequence[Block], name: str, findings: Findings) -> list[_RevocationList]:
    lists = []
    for block in blocks:
        if block.label != "X509 CRL":
            message = f"{name} holds a PEM block {block.label} where a CRL belongs"
            findings.error("wrong-pem-block", name, message, "Remove it, and put the CRL of each CA here")
            continue
        try:
            parsed = x509.load_der_x509_crl(block.der())
            title = f"CRL of {parsed.issuer.rfc4514_string()}"
            details = RevocationDetails(name, title, parsed.last_update_utc, parsed.next_update_utc)
            lists.append(_RevocationList(parsed, details))
        except UNREADABLE as fault:
            message = f"a CRL in {name} cannot be read: {reason(fault)}"
            findings.error("unreadable-crl", name, message, explain_body(block))
    return lists


def _check_authorities(
    certificates: Sequence[Certificate], lists: Sequence[_RevocationList], name: str, findings: Findings
) -> None:
    for certificate in certificates:
        constraints = extension(certificate.parsed, x509.BasicConstraints)
        is_v3 = certificate.parsed.version is x509.Version.v3
        if not constraints.ca if constraints else is_v3:
            message = f"certificate {certificate.title} in {name} is not a CA's, so that only itself is trusted"
            findings.warning("not-a-ca", name, message, "Put the certificate of the CA that issues to peers here")
        # With a CRL, Envoy asks for one of every CA in a peer's chain.
        if lists and not any(_signed_by(item.parsed, certificate.parsed) for item in lists):
            message = f"there is no CRL of {certificate.title}, so that Envoy refuses all whom it issues to"
            findings.warning("ca-without-crl", name, message, "Add its CRL beside the others, or remove the CA")
    for item in lists:
        if not any(_signed_by(item.parsed, certificate.parsed) for certificate in certificates):
            message = f"{item.details.title} in {item.details.name} is signed by no CA in {name}"
            findings.warning("crl-without-ca", item.details.name, message, "Remove it, or add the CA")


def _signed_by(revocation_list: x509.CertificateRevocationList, authority: x509.Certificate) -> bool:
    try:
        # A key that signs nothing raises TypeError.
        public_key = cast(CertificateIssuerPublicKeyTypes, authority.public_key())
        return revocation_list.issuer == authority.subject and revocation_list.is_signature_valid(public_key)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return False
