"""Rules for kinds of Alibaba Cloud Service Mesh."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from fairlead.models.asm import ASMCredential, CredentialType
from fairlead.models.base import KubernetesObject
from fairlead.problems import Problem, error


def credential(obj: ASMCredential) -> Iterator[Problem]:
    """What is wrong with an ASMCredential apart from its certificates, which are read where they are used."""
    spec = obj.spec
    for name, value in (("cert", spec.cert), ("key", spec.key)):
        if not value:
            yield error("missing-field", f"{name} is missing", path=("spec", name))
    if spec.type is CredentialType.MTLS and not spec.ca_cert:
        yield error("missing-field", "a credential of type mtls needs caCert", path=("spec", "caCert"))


RULES: dict[type[KubernetesObject], Callable[[Any], Iterable[Problem]]] = {ASMCredential: credential}
"""The rules of each kind."""
