"""Rules for kinds of Alibaba Cloud Service Mesh."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from fairlead.models.asm import ASMCredential, ASMLocalRateLimiter, CredentialType
from fairlead.models.base import KubernetesObject
from fairlead.problems import Problem, error
from fairlead.validation import certificates
from fairlead.validation.local_rate_limiter import local_rate_limiter


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


RULES: dict[type[KubernetesObject], Callable[[Any], Iterable[Problem]]] = {
    ASMCredential: credential,
    ASMLocalRateLimiter: local_rate_limiter,
}
"""The rules of each kind."""
