"""Credentials: what a proxy gets when it asks for a name, and what it does not get."""

import pytest
import yaml
from cryptography.hazmat.primitives.serialization import Encoding
from fairlead.intent import AuthoritiesCredential, KeyPairCredential
from fairlead.models import core
from fairlead.resolve import credentials
from fairlead.world import ObjectName, World
from support.pki import SHOP, Authority, key_pem
from support.worlds import put, world

ROOT = Authority("Root")
CERTIFICATE = ROOT.issue("shop", "rsa-2048", SHOP).public_bytes(Encoding.PEM).decode()
KEY = key_pem().decode()
CA = ROOT.pem.decode()
CRL = ROOT.crl().decode()
OTHER_KEY = key_pem("ec-secp256r1").decode()
PAIR = {"tls.crt": CERTIFICATE, "tls.key": KEY}


def secret(name: str, namespace: str = "edge", **data: str) -> str:
    metadata = {"name": name, "namespace": namespace}
    content = {key.replace("_", "."): value for key, value in data.items()} or PAIR
    return yaml.safe_dump({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": content})


def config_map(name: str, namespace: str = "edge") -> str:
    metadata = {"name": name, "namespace": namespace}
    return yaml.safe_dump({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"ca.crt": CA}})


def asm_credential(name: str, **spec: str) -> str:
    metadata = {"name": name, "namespace": "edge"}
    version = "istio.alibabacloud.com/v1"
    return yaml.safe_dump({"apiVersion": version, "kind": "ASMCredential", "metadata": metadata, "spec": spec})


def grant(to: str, *, name: str = "", kind: str = "Gateway", namespace: str = "edge") -> str:
    referrer = {"group": "gateway.networking.k8s.io", "kind": kind, "namespace": namespace}
    target = {"group": "", "kind": to} | ({"name": name} if name else {})
    return yaml.safe_dump(
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "ReferenceGrant",
            "metadata": {"name": "grant", "namespace": "vault"},
            "spec": {"from": [referrer], "to": [target]},
        }
    )


def shown(made: World, name: str, *, strict: bool = False) -> str:
    """What is given: its kind and where it comes from; else the codes of the problems and their objects."""
    outcome = credentials.credential(made, "edge", name, strict)
    told = [f"{item.severity} {item.code} {item.key}" for item in outcome.problems]
    for item in outcome.problems:
        assert KEY.splitlines()[5] not in repr(item)
    match outcome.value:
        case None:
            return ", ".join(told)
        case KeyPairCredential():
            kind = "pair"
        case AuthoritiesCredential():
            kind = "authorities"
    assert outcome.value.name == name
    (origin,) = outcome.value.origin
    return ", ".join([f"{kind} {origin}", *told])


@pytest.mark.parametrize(
    ("written", "resource", "authorities"),
    [
        ("own", "kubernetes://own", "kubernetes://own-cacert"),
        ("kubernetes://own", "kubernetes://own", "kubernetes://own-cacert"),
        ("configmap://own", "configmap://own", "configmap://own"),
    ],
)
def test_names_that_proxies_ask_for(written: str, resource: str, authorities: str) -> None:
    assert credentials.resource_name(written) == resource
    assert credentials.authorities_name(written) == authorities


def test_a_key_pair() -> None:
    found = credentials.credential(world(secret("own")), "edge", "kubernetes://own").value
    assert isinstance(found, KeyPairCredential)
    assert found.certificate_chain.decode() == CERTIFICATE
    assert found.private_key.decode() == KEY
    assert KEY.splitlines()[5] not in repr(found)


def test_authorities_with_their_revocation_list() -> None:
    made = world(secret("own", ca_crt=CA, ca_crl=CRL))
    found = credentials.credential(made, "edge", "kubernetes://own-cacert").value
    assert isinstance(found, AuthoritiesCredential)
    assert (found.certificates.decode(), found.revocation_list) == (CA, CRL.encode())


@pytest.mark.parametrize(
    ("objects", "name", "expected"),
    [
        ([secret("own")], "kubernetes://own", "pair Secret edge/own"),
        ([secret("own", cert=CERTIFICATE, key=KEY)], "kubernetes://own", "pair Secret edge/own"),
        ([secret("own")], "kubernetes://edge/own", "pair Secret edge/own"),
        ([], "kubernetes://own", "error missing-credential Secret edge/own"),
        ([secret("own", "other")], "kubernetes://own", "error missing-credential Secret edge/own"),
        ([secret("own", "other")], "kubernetes://other/own", "error credential-not-permitted Secret other/own"),
        (
            [secret("own", tls_crt=CERTIFICATE, tls_key=OTHER_KEY)],
            "kubernetes://own",
            "error key-mismatch Secret edge/own",
        ),
        ([secret("own", ca_crt=CA)], "kubernetes://own-cacert", "authorities Secret edge/own"),
        ([secret("own-cacert", cacert=CA)], "kubernetes://own-cacert", "authorities Secret edge/own-cacert"),
        (
            [secret("own-cacert", cacert=CA), secret("own", ca_crt=CA)],
            "kubernetes://own-cacert",
            "authorities Secret edge/own-cacert",
        ),
        ([], "kubernetes://own-cacert", "error missing-credential Secret edge/own-cacert"),
        ([config_map("own")], "configmap://own", "authorities ConfigMap edge/own"),
        ([config_map("own")], "configmap://edge/own", "authorities ConfigMap edge/own"),
        ([], "configmap://own", "error missing-credential ConfigMap edge/own"),
        ([config_map("own", "vault")], "configmap://vault/own", "error credential-not-permitted ConfigMap vault/own"),
        ([], "builtin://", "error unknown-credential None"),
        ([], "sds://own", "error unknown-credential None"),
        ([], "kubernetes://", "error unknown-credential None"),
        ([], "kubernetes:///own", "error unknown-credential None"),
        ([], "kubernetes://a/b/c", "error unknown-credential None"),
        ([], "default", "error unknown-credential None"),
    ],
)
def test_where_credentials_are_found(objects: list[str], name: str, expected: str) -> None:
    assert shown(world(*objects), name) == expected


@pytest.mark.parametrize(
    ("grants", "given"),
    [
        ([], False),
        ([grant("Secret")], True),
        ([grant("Secret", name="own")], True),
        ([grant("Secret", name="other")], False),
        ([grant("ConfigMap")], False),
        ([grant("Secret", kind="HTTPRoute")], False),
        ([grant("Secret", namespace="other")], False),
    ],
)
def test_another_namespace_shares_by_a_grant(grants: list[str], given: bool) -> None:
    made = world(secret("own", "vault"), *grants)
    expected = "pair Secret vault/own" if given else "error credential-not-permitted Secret vault/own"
    assert shown(made, "kubernetes-gateway://vault/own") == expected
    assert shown(made, "kubernetes://vault/own") == "error credential-not-permitted Secret vault/own"


def test_a_grant_holds_for_the_object_that_is_read() -> None:
    made = world(secret("own", "vault", cacert=CA), grant("Secret", name="own"))
    assert shown(made, "kubernetes-gateway://vault/own-cacert") == "authorities Secret vault/own"
    put(made, secret("own-cacert", "vault", cacert=CA))
    assert shown(made, "kubernetes-gateway://vault/own-cacert") == "authorities Secret vault/own"


def test_a_config_map_is_shared_as_well() -> None:
    made = world(config_map("own", "vault"), grant("ConfigMap"))
    assert shown(made, "configmap://vault/own") == "authorities ConfigMap vault/own"


def test_an_asm_credential_serves_where_there_is_no_secret() -> None:
    made = world(asm_credential("own", type="mtls", cert=CERTIFICATE, key=KEY, caCert=CA))
    assert shown(made, "kubernetes://own") == "pair ASMCredential edge/own"
    assert shown(made, "kubernetes://own-cacert") == "authorities ASMCredential edge/own"
    put(made, secret("own"))
    assert shown(made, "kubernetes://own") == "pair Secret edge/own"


def test_faults_of_a_secret_are_told_where_its_content_is_written() -> None:
    made = world(secret("text", tls_crt=CERTIFICATE, tls_key=OTHER_KEY))
    (of_text,) = credentials.credential(made, "edge", "kubernetes://text").problems
    assert of_text.path == ("stringData", "tls.key")
    put(made, 'apiVersion: v1\nkind: Secret\nmetadata: {name: data, namespace: edge}\ndata: {tls.crt: "", tls.key: ""}')
    (of_data, *_) = credentials.credential(made, "edge", "kubernetes://data").problems
    assert of_data.path[0] == "data"


def test_faults_of_an_asm_credential_are_told_at_its_fields() -> None:
    made = world(asm_credential("own", type="tls", cert=CERTIFICATE, key=OTHER_KEY, caCert=KEY))
    (of_pair,) = credentials.credential(made, "edge", "kubernetes://own").problems
    assert (str(of_pair.key), of_pair.path) == ("ASMCredential edge/own", ("spec", "key"))
    (of_authorities, *_) = credentials.credential(made, "edge", "kubernetes://own-cacert").problems
    assert of_authorities.path == ("spec", "caCert")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (secret("istio-own"), "restricted-name"),
        (secret("prometheus"), "restricted-name"),
        (secret("own", token="x", cert=CERTIFICATE, key=KEY), "restricted-data"),
    ],
    ids=["istio", "prometheus", "token"],
)
def test_reserved_secrets_are_warned_about_or_refused(text: str, code: str) -> None:
    made = world(text)
    (name,) = made.objects(core.Secret).keys()
    key = f"Secret edge/{name.name}"
    assert shown(made, f"kubernetes://{name.name}") == f"pair {key}, warning {code} {key}"
    assert shown(made, f"kubernetes://{name.name}", strict=True) == f"error {code} {key}"


def test_only_a_change_of_the_secret_is_a_change() -> None:
    made = world(secret("own", cacert=CA, cert=CERTIFICATE, key=KEY), secret("other"))
    names = ("kubernetes://own", "kubernetes://own-cacert")
    before = [shown(made, name) for name in names]
    made.graph.computed.clear()
    put(made, secret("other", cert=CERTIFICATE, key=KEY), secret("own", "vault"), config_map("own"))
    assert [shown(made, name) for name in names] == before
    assert not made.graph.computed
    put(made, secret("own-cacert", cacert=CA))
    assert [shown(made, name) for name in names] == [before[0], "authorities Secret edge/own-cacert"]
    assert made.graph.computed == {"credential": 1}
    made.remove(core.Secret, ObjectName("edge", "own-cacert"))
    made.remove(core.Secret, ObjectName("edge", "own"))
    assert [shown(made, name) for name in names] == [
        "error missing-credential Secret edge/own",
        "error missing-credential Secret edge/own-cacert",
    ]
