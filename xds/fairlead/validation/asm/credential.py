"""Rules for ASMCredentials."""

from collections.abc import Iterator

from fairlead.models.asm.credential import ASMCredential, CredentialType
from fairlead.problems import Problem, error
from fairlead.validation import certificates


def credential(obj: ASMCredential) -> Iterator[Problem]:
    """What is wrong with an ASMCredential; warnings about its certificates are told where they are used."""
    spec = obj.spec
    for name, value in (("cert", spec.cert), ("key", spec.key)):
        if not value:
            yield error("missing-field", f"{name} is missing", path=("spec", name))
    if spec.type is CredentialType.MTLS and not spec.ca_cert:
        yield error("missing-field", "a credential of type mtls needs caCert", path=("spec", "caCert"))
    if spec.cert and spec.key:
        pair = {"cert": bytes(spec.cert), "key": bytes(spec.key)}
        yield from certificates.faults_of_key_pair(pair, obj.key, ("spec",))
    if spec.ca_cert:
        bundle = {"caCert": bytes(spec.ca_cert)}
        yield from certificates.faults_of_trust_bundle(bundle, obj.key, ("spec",), ("caCert",))
