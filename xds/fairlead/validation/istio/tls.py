"""TLS of servers: of Gateways, and of a Sidecar's ingress."""

from collections.abc import Iterator

from fairlead.models.istio.gateway import CIPHER_SUITES, ECDH_CURVES, ServerTLSMode, ServerTLSSettings, TLSProtocol
from fairlead.problems import FieldPath, Problem, error, warning

_TERMINATING = {ServerTLSMode.SIMPLE, ServerTLSMode.MUTUAL, ServerTLSMode.OPTIONAL_MUTUAL}
_PASSING = {ServerTLSMode.PASSTHROUGH, ServerTLSMode.AUTO_PASSTHROUGH}
_VERSIONS = [TLSProtocol.TLSV1_0, TLSProtocol.TLSV1_1, TLSProtocol.TLSV1_2, TLSProtocol.TLSV1_3]

_PAIR = ("server_certificate", "private_key")
_SOURCES = {
    "credential_name": "credentialName",
    "credential_names": "credentialNames",
    "tls_certificates": "tlsCertificates",
    "server_certificate": "serverCertificate",
    "private_key": "privateKey",
}
_CREDENTIALS = {
    **_SOURCES,
    "ca_certificates": "caCertificates",
    "ca_cert_credential_name": "caCertCredentialName",
    "ca_crl": "caCrl",
}
"""Fields that name key pairs and trusted certificates, with their names in the API."""


def credential_fields(tls: ServerTLSSettings) -> list[str]:
    """The fields in use that name key pairs or trusted certificates, by their names in the API."""
    return [name for field, name in _CREDENTIALS.items() if getattr(tls, field)]


def server_tls(tls: ServerTLSSettings, path: FieldPath) -> Iterator[Problem]:
    """TLS of a server, whatever protocol its port has."""
    yield from _versions(tls, path)
    yield from known_names(tls.cipher_suites, "cipher suite", (*path, "cipherSuites"))
    yield from known_names(tls.ecdh_curves, "curve", (*path, "ecdhCurves"))
    if tls.mode in _TERMINATING:
        yield from _key_pairs(tls, path)
        yield from _trust(tls, path)
    elif tls.mode is ServerTLSMode.ISTIO_MUTUAL:
        for name in credential_fields(tls):
            message = f"{name} cannot be set with mode ISTIO_MUTUAL, which uses the mesh's own certificates"
            yield error("conflicting-fields", message, path=(*path, name), hint="leave it out, or use mode MUTUAL")
    else:
        for name in credential_fields(tls):
            message = f"{name} has no effect: mode {tls.mode.value} does not decrypt"
            hint = "leave it out, or use mode SIMPLE to decrypt"
            yield warning("no-effect", message, path=(*path, name), hint=hint)


def _versions(tls: ServerTLSSettings, path: FieldPath) -> Iterator[Problem]:
    least, most = tls.min_protocol_version, tls.max_protocol_version
    if tls.mode in _PASSING:
        return
    # Absent, the least version is 1.2 (the Gateway's reference); what the highest is depends on Envoy, and is enough.
    if most in _VERSIONS:
        floor = least if least in _VERSIONS else TLSProtocol.TLSV1_2
        if _VERSIONS.index(most) < _VERSIONS.index(floor):
            message = f"maxProtocolVersion {most.value} is below the minimum, {floor.value}"
            yield error("tls-version-order", message, path=(*path, "maxProtocolVersion"))
    if least in {TLSProtocol.TLSV1_0, TLSProtocol.TLSV1_1} and not tls.cipher_suites:
        message = f"{least.value} cannot be negotiated with the default cipher suites"
        hint = "list cipherSuites that it has, such as ECDHE-RSA-AES128-SHA"
        yield warning("weak-tls-version", message, path=(*path, "minProtocolVersion"), hint=hint)


def known_names(names: tuple[str, ...], what: str, path: FieldPath) -> Iterator[Problem]:
    """Names of cipher suites or curves, of which those that Envoy does not know are left out."""
    known = CIPHER_SUITES if what == "cipher suite" else ECDH_CURVES
    for index, name in enumerate(names):
        # OpenSSL's operators and BoringSSL's groups, as in `[A|B]`, are Envoy's to judge.
        expression = what == "cipher suite" and (not name[:1].isalnum() or name == "ALL")
        if name not in known and not expression:
            message = f"Envoy knows no {what} {name!r}; it is left out"
            hint = "TLS 1.3 has suites of its own, which cannot be chosen" if name.startswith("TLS_AES_") else ""
            code = "unknown-cipher-suite" if what == "cipher suite" else "unknown-curve"
            yield warning(code, message, path=(*path, index), hint=hint)
        elif name in names[:index]:
            yield warning("duplicate-value", f"the {what} {name!r} is given more than once", path=(*path, index))


def _key_pairs(tls: ServerTLSSettings, path: FieldPath) -> Iterator[Problem]:
    used = [name for field, name in _SOURCES.items() if getattr(tls, field) and field not in _PAIR]
    if tls.server_certificate or tls.private_key:
        used.append(_SOURCES["server_certificate" if tls.server_certificate else "private_key"])
    if len(used) > 1:
        message = f"the key pair comes from one place only, not from {' and '.join(used)}"
        yield error("conflicting-fields", message, path=(*path, used[1]))
    elif not used:
        message = f"mode {tls.mode.value} needs a key pair"
        hint = "set credentialName to the name of a Secret in the gateway's namespace"
        yield error("missing-certificate", message, path=path, hint=hint)
    pairs = [((*path, "tlsCertificates", index), pair) for index, pair in enumerate(tls.tls_certificates)]
    files: list[tuple[FieldPath, str, str]] = [
        (where, pair.server_certificate, pair.private_key) for where, pair in pairs
    ]
    if tls.server_certificate or tls.private_key:
        files.append((path, tls.server_certificate, tls.private_key))
    for where, certificate, key in files:
        if not certificate:
            yield error("missing-certificate", "privateKey is set without serverCertificate", path=where)
        if not key:
            yield error("missing-certificate", "serverCertificate is set without privateKey", path=where)
    for name, count in (("credentialNames", len(tls.credential_names)), ("tlsCertificates", len(tls.tls_certificates))):
        if count > 2:
            message = f"{name} has {count} key pairs, of which Envoy can use two, one RSA and one ECDSA"
            yield warning("too-many-certificates", message, path=(*path, name, 2))


def _trust(tls: ServerTLSSettings, path: FieldPath) -> Iterator[Problem]:
    from_secret = bool(tls.credential_name or tls.credential_names)
    in_files = bool(tls.ca_certificates or any(pair.ca_certificates for pair in tls.tls_certificates))
    if tls.mode is ServerTLSMode.SIMPLE:
        for name, value in (
            ("caCertificates", tls.ca_certificates),
            ("caCertCredentialName", tls.ca_cert_credential_name),
        ):
            if value:
                message = f"{name} has no effect: mode SIMPLE asks clients for no certificate"
                yield warning("no-effect", message, path=(*path, name), hint="use mode MUTUAL or OPTIONAL_MUTUAL")
    elif not from_secret and not in_files and not tls.ca_cert_credential_name:
        message = f"mode {tls.mode.value} needs certificates to verify clients with"
        hint = "set caCertificates, or use credentialName and a Secret that holds them"
        yield error("missing-certificate", message, path=path, hint=hint)
    elif from_secret and tls.ca_certificates:
        message = (
            "caCertificates has no effect beside credentialName: the Secret holds the certificates of clients, too"
        )
        hint = "put them into the Secret as ca.crt, or name another one in caCertCredentialName"
        yield warning("no-effect", message, path=(*path, "caCertificates"), hint=hint)
    if tls.ca_crl and from_secret:
        message = "caCrl cannot be set with credentialName"
        hint = "put the revocation list into the Secret, as ca.crl"
        yield error("conflicting-fields", message, path=(*path, "caCrl"), hint=hint)
    elif tls.ca_crl and tls.mode is ServerTLSMode.SIMPLE:
        message = "caCrl cannot be set with mode SIMPLE, which asks clients for no certificate"
        yield error("conflicting-fields", message, path=(*path, "caCrl"))
