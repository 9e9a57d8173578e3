"""Credentials by the names under which proxies ask for them, from Secrets, ConfigMaps and ASMCredentials.

`kubernetes://name` is a Secret in the namespace of the proxy, whichever object refers to it; `kubernetes-gateway://
namespace/name` one that a Gateway of that API refers to, and `configmap://name` or `configmap://namespace/name` the CA
certificates in a ConfigMap. A name that ends in `-cacert` asks for CA certificates: those of the object of that whole
name or, when there is none, of the object whose name is what comes before.

`file-cert:certificate~key` and `file-root:certificates` are files of the proxy, and Istio's names for them; after the
latter, `~` and a file of revoked certificates may follow.

A proxy gets what is in its own namespace; of another one only what a ReferenceGrant shares with Gateways of its
namespace. Where there is no Secret, an ASMCredential of the name serves as one.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from fairlead.certificates import read_key_pair, read_trust_bundle
from fairlead.derive import Collection, derived, derived_index
from fairlead.intent import (
    AuthoritiesCredential,
    AuthoritiesFilesCredential,
    Credential,
    KeyPairCredential,
    KeyPairFilesCredential,
)
from fairlead.models.asm.credential import ASMCredential
from fairlead.models.core import ConfigMap, Secret
from fairlead.models.gateway_api import Gateway
from fairlead.problems import FieldPath, ObjectKey, Problem, Related, error, warning
from fairlead.resolve.gateway_api.references import is_permitted
from fairlead.resolve.outcome import Outcome
from fairlead.world import ObjectName, World

ABOUT_REFERENCES = frozenset({"unknown-credential", "credential-not-permitted", "missing-credential"})
"""Codes of problems that lie with whoever names a credential, who reports them by `faulty_references`."""

_AUTHORITIES_SUFFIX = "-cacert"
_SECRET, _GATEWAY_SECRET, _CONFIG_MAP = "kubernetes", "kubernetes-gateway", "configmap"
_KEY_PAIR_FILES, _AUTHORITIES_FILES = "file-cert:", "file-root:"
WORKLOAD_CERTIFICATE = "workload-certificate"
"""The Secret in the namespace of proxies with the certificate that tells who they are, and the CA's of the mesh."""
_RESTRICTED_PREFIXES = ("istio", "prometheus")
_RESTRICTED_DATA = "token"


def resource_name(name: str) -> str:
    """The name by which proxies ask for what a `credentialName` means: a Secret, unless it says otherwise."""
    return name if "://" in name else f"{_SECRET}://{name}"


def authorities_name(name: str) -> str:
    """The name by which proxies ask for the CA certificates that go with a `credentialName`."""
    name = resource_name(name)
    return name if name.startswith(f"{_CONFIG_MAP}://") else f"{name}{_AUTHORITIES_SUFFIX}"


def key_pair_files_name(certificate_chain: str, private_key: str) -> str:
    """The name by which proxies ask for a key pair in files of their own."""
    return f"{_KEY_PAIR_FILES}{certificate_chain}~{private_key}"


def authorities_file_name(certificates: str, revocation_list: str = "") -> str:
    """The name by which proxies ask for CA certificates in a file of their own."""
    return f"{_AUTHORITIES_FILES}{certificates}" + (f"~{revocation_list}" if revocation_list else "")


@derived
def credential(world: World, namespace: str, name: str, strict: bool = False) -> Outcome[Credential | None]:
    """What a proxy of the namespace gets when it asks for `name`; None when it is missing, faulty or not for it.

    With `strict`, Secrets whose name or data ASM reserves are refused instead of only warned about.
    """
    if name.startswith(_KEY_PAIR_FILES):
        return Outcome(KeyPairFilesCredential(name, *_files(name, _KEY_PAIR_FILES)))
    if name.startswith(_AUTHORITIES_FILES):
        return Outcome(AuthoritiesFilesCredential(name, *_files(name, _AUTHORITIES_FILES)))
    wanted = _parse(namespace, name)
    if wanted is None:
        message = f"there is no credential {name}: only Secrets and ConfigMaps can be named"
        return Outcome(None, (error("unknown-credential", message),))
    gateways = ObjectKey(Gateway.group, Gateway.kind, namespace, "")
    permitted = [
        key
        for key in wanted.keys
        if key.namespace == namespace or (wanted.is_shareable and is_permitted(world, gateways, key))
    ]
    if not permitted:
        return Outcome(None, (_not_permitted(namespace, wanted),))
    source = next((found for key in permitted if (found := _find(world, key)) is not None), None)
    if source is None:
        return Outcome(None, (_missing(world, permitted),))
    restrictions = tuple(_restrictions(source, strict=strict))
    if strict and restrictions:
        return Outcome(None, restrictions)
    outcome = _authorities(name, source) if wanted.is_authorities else _key_pair(name, source)
    return Outcome(outcome.value, (*restrictions, *outcome.problems))


def faulty_references(
    world: World, namespace: str, names: Iterable[str], key: ObjectKey, path: FieldPath
) -> Iterator[Problem]:
    """What is wrong with the credentials that a field names, where there is no credential to blame instead."""
    for name in names:
        for problem in credential(world, namespace, name, world.strict_secret_names).problems:
            if problem.code in ABOUT_REFERENCES:
                yield replace(problem, key=key, path=path)


# --- Names ------------------------------------------------------------------------------------------------------------


def _files(name: str, prefix: str) -> tuple[str, str]:
    first, _, second = name.removeprefix(prefix).partition("~")
    return first, second


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a name asks for."""

    keys: tuple[ObjectKey, ...]
    """Where it may be, in order."""
    is_authorities: bool
    is_shareable: bool
    """It may be in another namespace, given a ReferenceGrant."""


def _parse(namespace: str, name: str) -> _Wanted | None:
    scheme, _, rest = name.partition("://")
    owner, slash, bare = rest.rpartition("/")
    if scheme not in (_SECRET, _GATEWAY_SECRET, _CONFIG_MAP) or not bare or "/" in owner or (slash and not owner):
        return None
    if scheme == _CONFIG_MAP:
        key = ObjectKey(ConfigMap.group, ConfigMap.kind, owner or namespace, bare)
        return _Wanted((key,), is_authorities=True, is_shareable=True)
    key = ObjectKey(Secret.group, Secret.kind, owner or namespace, bare)
    is_authorities = bare.endswith(_AUTHORITIES_SUFFIX)
    keys = (key, key._replace(name=bare.removesuffix(_AUTHORITIES_SUFFIX))) if is_authorities else (key,)
    return _Wanted(keys, is_authorities, is_shareable=scheme == _GATEWAY_SECRET)


def _not_permitted(namespace: str, wanted: _Wanted) -> Problem:
    key = wanted.keys[0]
    hint = f"put it into namespace {namespace}"
    if wanted.is_shareable:
        hint += f", or share it with Gateways of {namespace} by a ReferenceGrant in {key.namespace}"
    return error("credential-not-permitted", f"{key} is not for proxies in namespace {namespace}", key=key, hint=hint)


def _missing(world: World, keys: Sequence[ObjectKey]) -> Problem:
    names = " and no ".join(str(key) for key in keys)
    message, hint = f"there is no {names} that can be used", "create it, or correct the name"
    others = sorted(other for key in keys for other in _secrets_by_name(world).get(key.name) or ())
    if others and keys[0].kind == Secret.kind:
        namespaces = ", ".join(other.namespace for other in others)
        message += f"; there is one in {namespaces}, but proxies get only those of their own namespace"
        hint = f"put it into namespace {keys[0].namespace}, where the proxies are"
    related = tuple(
        Related("not in the namespace of the proxies", ObjectKey(Secret.group, Secret.kind, *other)) for other in others
    )
    return error("missing-credential", message, key=keys[0], hint=hint, related=related)


def _secrets(world: World) -> Collection[ObjectName, Secret]:
    return world.objects(Secret)


@derived_index(_secrets)
def _secrets_by_name(_world: World, name: ObjectName, _secret: Secret) -> Iterable[str]:
    return (name.name,)


# --- Content ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Source:
    """An object that holds certificates."""

    key: ObjectKey
    data: Mapping[str, bytes] = field(repr=False)
    path: FieldPath
    authorities: tuple[str, ...] = ("cacert", "ca.crt")
    """Where CA certificates are among the data."""


def _find(world: World, key: ObjectKey) -> _Source | None:
    name = ObjectName(key.namespace, key.name)
    if key.kind == ConfigMap.kind:
        config = world.objects(ConfigMap).get(name)
        if config is None:
            return None
        text = {item: value.encode() for item, value in config.data.items()}
        return _Source(config.key, text | config.binary_data, ("data",))
    secret = world.objects(Secret).get(name)
    if secret is not None:
        return _Source(secret.key, secret.values, ("data",) if secret.data else ("stringData",))
    certificate = world.objects(ASMCredential).get(name)
    if certificate is None:
        return None
    spec = certificate.spec
    content = {"cert": bytes(spec.cert), "key": bytes(spec.key), "caCert": bytes(spec.ca_cert)}
    present = {item: value for item, value in content.items() if value}
    return _Source(certificate.key, present, ("spec",), authorities=("caCert",))


def _restrictions(source: _Source, *, strict: bool) -> Iterator[Problem]:
    """What ASM's gateways did not take for a certificate before version 1.17, by their documentation."""
    report = error if strict else warning
    effect = "is not served" if strict else "would not be served by ASM before version 1.17"
    if source.key.name.startswith(_RESTRICTED_PREFIXES):
        message = f"{source.key} {effect}, because its name begins with {' or '.join(_RESTRICTED_PREFIXES)}"
        yield report("restricted-name", message, key=source.key, path=("metadata", "name"), hint="rename it")
    if _RESTRICTED_DATA in source.data:
        message = f"{source.key} {effect}, because it holds a {_RESTRICTED_DATA}"
        path = (*source.path, _RESTRICTED_DATA)
        yield report("restricted-data", message, key=source.key, path=path, hint="remove it")


def _key_pair(name: str, source: _Source) -> Outcome[KeyPairCredential | None]:
    pair, problems = read_key_pair(source.data, source.key, source.path)
    if pair is None:
        return Outcome(None, problems)
    read = KeyPairCredential(
        name, pair.certificate_chain, pair.private_key.reveal(), pair.ocsp_staple, origin=(source.key,)
    )
    return Outcome(read, problems)


def _authorities(name: str, source: _Source) -> Outcome[AuthoritiesCredential | None]:
    bundle, problems = read_trust_bundle(source.data, source.key, source.path, source.authorities)
    if bundle is None:
        return Outcome(None, problems)
    return Outcome(AuthoritiesCredential(name, bundle.ca_certificates, bundle.crl, origin=(source.key,)), problems)
