"""Key pairs and trust bundles: what a Secret, a ConfigMap or an ASMCredential holds, checked before Envoy sees it.

Envoy refuses a secret as a whole, in words that name no file. The rules here are those by which Envoy 1.40 and its
BoringSSL refuse (``source/common/tls/context_impl.cc``, ``server_context_impl.cc`` and ``ocsp/ocsp.cc``); tests hold
them against the binary.

What passes is encoded anew from the blocks that were checked. So Envoy's lax PEM reader meets nothing that was not
checked, comments make no new version, and a private key that was pasted below a certificate reaches no config dump.

Nothing here reads a clock: dates are values, which `validity_problems` compares with the time that it is given.
"""

from fairlead.certificates.key_pair import read_key_pair
from fairlead.certificates.reading import hosts_of
from fairlead.certificates.trust_bundle import read_trust_bundle
from fairlead.certificates.values import (
    EXPIRES_SOON,
    CertificateDetails,
    KeyPair,
    PrivateBytes,
    RevocationDetails,
    TrustBundle,
    covers,
    names_cover,
    validity_problems,
)

__all__ = [
    "EXPIRES_SOON",
    "CertificateDetails",
    "KeyPair",
    "PrivateBytes",
    "RevocationDetails",
    "TrustBundle",
    "covers",
    "hosts_of",
    "names_cover",
    "read_key_pair",
    "read_trust_bundle",
    "validity_problems",
]
