"""Certificates and keys."""

import enum
from typing import ClassVar

from fairlead.models.base import KubernetesObject, Model, Pem


class CredentialType(enum.Enum):
    """What an ASMCredential is for."""

    TLS = "tls"
    MTLS = "mtls"


class ASMCredentialSpec(Model, frozen=True, kw_only=True):
    """A certificate with its key, and for `mtls` the certificates that clients are checked against."""

    type: CredentialType = CredentialType.TLS
    cert: Pem = Pem()
    key: Pem = Pem()
    ca_cert: Pem = Pem()


class ASMCredential(KubernetesObject, frozen=True, kw_only=True):
    """A certificate that serves as the Secret of the same name would."""

    group: ClassVar[str] = "istio.alibabacloud.com"
    kind: ClassVar[str] = "ASMCredential"
    versions: ClassVar[tuple[str, ...]] = ("v1", "v1beta1")

    spec: ASMCredentialSpec
