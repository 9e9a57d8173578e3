"""TLS of a Gateway's server."""

from collections.abc import Iterator

from fairlead.intent import ClientCertificates, TlsParameters, TlsTermination, TlsVersion, Validation
from fairlead.models.istio.gateway import CIPHER_SUITES, ECDH_CURVES, ServerTLSMode, ServerTLSSettings, TLSProtocol
from fairlead.models.istio.mesh_config import TLSConfig
from fairlead.problems import FieldPath, ObjectKey, Problem, error
from fairlead.resolve import credentials

CLIENT_CERTIFICATES = {
    ServerTLSMode.SIMPLE: ClientCertificates.NOT_REQUESTED,
    ServerTLSMode.OPTIONAL_MUTUAL: ClientCertificates.OPTIONAL,
    ServerTLSMode.MUTUAL: ClientCertificates.REQUIRED,
    ServerTLSMode.ISTIO_MUTUAL: ClientCertificates.REQUIRED,
}
"""The modes that terminate TLS."""

_VERSIONS = {
    TLSProtocol.TLS_AUTO: None,
    TLSProtocol.TLSV1_0: TlsVersion.TLS_1_0,
    TLSProtocol.TLSV1_1: TlsVersion.TLS_1_1,
    TLSProtocol.TLSV1_2: TlsVersion.TLS_1_2,
    TLSProtocol.TLSV1_3: TlsVersion.TLS_1_3,
}

_SCHEMES = frozenset({"kubernetes", "kubernetes-gateway", "configmap"})


def termination(tls: ServerTLSSettings, defaults: TLSConfig, *, http: bool) -> TlsTermination:
    """What a server does that has one of the modes of `CLIENT_CERTIFICATES` and none of the `obstacles`.

    `defaults` are the mesh's, for what the server does not say.
    """
    clients = CLIENT_CERTIFICATES[tls.mode]
    validation = None
    if clients is not ClientCertificates.NOT_REQUESTED:
        validation = Validation(
            authorities=_authorities(tls),
            subject_alternative_names=tls.subject_alt_names,
            spki_hashes=tls.verify_certificate_spki,
            certificate_hashes=tls.verify_certificate_hash,
            accept_untrusted=bool(tls.insecure_skip_verify),
        )
    return TlsTermination(
        credentials=tuple(_key_pairs(tls)),
        client_certificates=clients,
        validation=validation,
        parameters=parameters(tls, defaults),
        # Bytes that are passed on may be of any protocol, so that nothing can be promised for them.
        alpn=("h2", "http/1.1") if http else (),
    )


def parameters(tls: ServerTLSSettings | None, defaults: TLSConfig) -> TlsParameters:
    """Limits of the handshake; None stands for settings that have none."""
    given = tls if tls is not None else ServerTLSSettings()
    return TlsParameters(
        minimum=_VERSIONS[given.min_protocol_version] or _VERSIONS[defaults.min_protocol_version],
        maximum=_VERSIONS[given.max_protocol_version],
        # One name that it does not know makes Envoy refuse the listener.
        cipher_suites=_known(given.cipher_suites, CIPHER_SUITES) or _known(defaults.cipher_suites, CIPHER_SUITES),
        ecdh_curves=_known(given.ecdh_curves, ECDH_CURVES) or _known(defaults.ecdh_curves, ECDH_CURVES),
    )


def _known(names: tuple[str, ...], known: frozenset[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in names if name in known))


def obstacles(tls: ServerTLSSettings, key: ObjectKey, path: FieldPath) -> tuple[Problem, ...]:
    """Why a server with TLS cannot be served."""
    if tls.mode is ServerTLSMode.PASSTHROUGH:
        return ()
    if tls.mode not in CLIENT_CERTIFICATES:
        return (_not_served("unsupported-value", f"mode {tls.mode.value} is not supported", key, (*path, "mode"), ""),)
    problems = []
    for name in (tls.credential_name, *tls.credential_names, tls.ca_cert_credential_name):
        scheme, separator, _ = name.partition("://")
        if separator and scheme not in _SCHEMES:
            hint = "name a Secret in the namespace of the proxies"
            problems.append(
                _not_served("unsupported-value", f"credentials cannot be had from {scheme}://", key, path, hint)
            )
    return tuple(problems)


def _not_served(code: str, why: str, key: ObjectKey, path: FieldPath, hint: str) -> Problem:
    return error(code, f"the server is not served: {why}", key=key, path=path, hint=hint)


def _key_pairs(tls: ServerTLSSettings) -> Iterator[str]:
    """Names of the credentials that are presented."""
    if tls.mode is ServerTLSMode.ISTIO_MUTUAL:
        yield credentials.resource_name(credentials.WORKLOAD_CERTIFICATE)
    elif names := tls.credential_names or ((tls.credential_name,) if tls.credential_name else ()):
        yield from map(credentials.resource_name, names)
    elif tls.server_certificate:
        yield credentials.key_pair_files_name(tls.server_certificate, tls.private_key)
    for pair in tls.tls_certificates:
        yield credentials.key_pair_files_name(pair.server_certificate, pair.private_key)


def _authorities(tls: ServerTLSSettings) -> str:
    """Name of the credential that clients' certificates are verified with."""
    if tls.mode is ServerTLSMode.ISTIO_MUTUAL:
        return credentials.authorities_name(credentials.WORKLOAD_CERTIFICATE)
    from_secrets = (tls.ca_cert_credential_name, *tls.credential_names, tls.credential_name)
    if name := next(filter(None, from_secrets), ""):
        return credentials.authorities_name(name)
    files = (tls.ca_certificates, *(pair.ca_certificates for pair in tls.tls_certificates))
    return credentials.authorities_file_name(next(filter(None, files), ""), tls.ca_crl)
