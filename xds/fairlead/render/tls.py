"""TLS on both sides of the proxy, and the Secrets that it refers to."""

import ipaddress
import posixpath
from collections.abc import Iterable

from fairlead._pb.envoy.config.core.v3 import base_pb2
from fairlead._pb.envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2, tls_pb2
from fairlead._pb.envoy.type.matcher.v3 import string_pb2
from fairlead._pb.google.protobuf import wrappers_pb2
from fairlead.intent import (
    AuthoritiesCredential,
    AuthoritiesFilesCredential,
    ClientCertificates,
    Credential,
    KeyPairCredential,
    KeyPairFilesCredential,
    TlsOrigination,
    TlsParameters,
    TlsTermination,
    TlsVersion,
    Validation,
)
from fairlead.render.encoding import AGGREGATED, packed, resource
from fairlead.snapshot import types
from fairlead.snapshot.resource import Resource

_TRANSPORT_SOCKET = "envoy.transport_sockets.tls"

# Where the CA certificates of a proxy's host are: in Envoy's images, and on Debian and all of its kin.
_SYSTEM_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"

_VERSIONS = {
    None: common_pb2.TlsParameters.TLS_AUTO,
    TlsVersion.TLS_1_0: common_pb2.TlsParameters.TLSv1_0,
    TlsVersion.TLS_1_1: common_pb2.TlsParameters.TLSv1_1,
    TlsVersion.TLS_1_2: common_pb2.TlsParameters.TLSv1_2,
    TlsVersion.TLS_1_3: common_pb2.TlsParameters.TLSv1_3,
}


# --- Transport sockets ------------------------------------------------------------------------------------------------


def termination(tls: TlsTermination) -> base_pb2.TransportSocket:
    """The transport socket of a filter chain that ends TLS."""
    context = tls_pb2.DownstreamTlsContext(
        common_tls_context=_common(tls.parameters, tls.credentials, tls.alpn),
        require_client_certificate=wrappers_pb2.BoolValue(value=tls.client_certificates is ClientCertificates.REQUIRED),
    )
    if tls.client_certificates is not ClientCertificates.NOT_REQUESTED:
        assert tls.validation is not None, "Envoy would take any certificate for a good one"
        _validate(context.common_tls_context, tls.validation)
    return base_pb2.TransportSocket(name=_TRANSPORT_SOCKET, typed_config=packed(context))


def origination(tls: TlsOrigination) -> base_pb2.TransportSocket:
    """The transport socket of a cluster that speaks TLS to its endpoints."""
    credentials = (tls.credential,) if tls.credential else ()
    context = tls_pb2.UpstreamTlsContext(
        common_tls_context=_common(tls.parameters, credentials, tls.alpn), sni=tls.server_name
    )
    if tls.parameters.maximum is None:
        # Envoy as a client stops at TLS 1.2 by itself, and could not talk to a server that wants 1.3.
        context.common_tls_context.tls_params.tls_maximum_protocol_version = _VERSIONS[TlsVersion.TLS_1_3]
    if tls.validation is not None:
        _validate(context.common_tls_context, tls.validation)
    return base_pb2.TransportSocket(name=_TRANSPORT_SOCKET, typed_config=packed(context))


def _common(parameters: TlsParameters, credentials: Iterable[str], alpn: Iterable[str]) -> tls_pb2.CommonTlsContext:
    message = tls_pb2.CommonTlsContext(
        tls_certificate_sds_secret_configs=[_discovered(name) for name in credentials], alpn_protocols=alpn
    )
    if parameters != TlsParameters():
        message.tls_params.CopyFrom(
            common_pb2.TlsParameters(
                tls_minimum_protocol_version=_VERSIONS[parameters.minimum],
                tls_maximum_protocol_version=_VERSIONS[parameters.maximum],
                cipher_suites=parameters.cipher_suites,
                ecdh_curves=parameters.ecdh_curves,
            )
        )
    return message


def _discovered(credential: str) -> secret_pb2.SdsSecretConfig:
    return secret_pb2.SdsSecretConfig(name=credential, sds_config=AGGREGATED)


# --- Validation -------------------------------------------------------------------------------------------------------


def _validate(context: tls_pb2.CommonTlsContext, validation: Validation) -> None:
    message = common_pb2.CertificateValidationContext(
        match_typed_subject_alt_names=[_subject(name) for name in validation.subject_alternative_names],
        verify_certificate_spki=validation.spki_hashes,
        verify_certificate_hash=validation.certificate_hashes,
    )
    if validation.accept_untrusted:
        message.trust_chain_verification = common_pb2.CertificateValidationContext.ACCEPT_UNTRUSTED
    if validation.authorities:
        context.combined_validation_context.CopyFrom(
            tls_pb2.CommonTlsContext.CombinedCertificateValidationContext(
                default_validation_context=message,
                validation_context_sds_secret_config=_discovered(validation.authorities),
            )
        )
        return
    if validation.system_authorities:
        message.trusted_ca.filename = _SYSTEM_AUTHORITIES
    if validation.revocation_list_file:
        message.crl.filename = validation.revocation_list_file
    context.validation_context.CopyFrom(message)


def _subject(name: str) -> common_pb2.SubjectAltNameMatcher:
    return common_pb2.SubjectAltNameMatcher(san_type=_subject_type(name), matcher=string_pb2.StringMatcher(exact=name))


def _subject_type(name: str) -> common_pb2.SubjectAltNameMatcher.SanType:
    """What kind of name in a certificate can be that text: an IP address, a URI, a mail address or a host."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        if ":" in name:
            return common_pb2.SubjectAltNameMatcher.URI
        return common_pb2.SubjectAltNameMatcher.EMAIL if "@" in name else common_pb2.SubjectAltNameMatcher.DNS
    return common_pb2.SubjectAltNameMatcher.IP_ADDRESS


# --- Secrets ----------------------------------------------------------------------------------------------------------


def secret(credential: Credential) -> Resource:
    """A Secret with its content inline, or in files of the proxy."""
    message = secret_pb2.Secret(name=credential.name)
    match credential:
        case KeyPairCredential():
            certificate = message.tls_certificate
            certificate.certificate_chain.inline_bytes = credential.certificate_chain
            certificate.private_key.inline_bytes = credential.private_key
            if credential.ocsp_staple is not None:
                certificate.ocsp_staple.inline_bytes = credential.ocsp_staple
        case AuthoritiesCredential():
            message.validation_context.trusted_ca.inline_bytes = credential.certificates
            if credential.revocation_list is not None:
                message.validation_context.crl.inline_bytes = credential.revocation_list
        case KeyPairFilesCredential():
            message.tls_certificate.certificate_chain.filename = credential.certificate_chain
            message.tls_certificate.private_key.filename = credential.private_key
            message.tls_certificate.watched_directory.path = _folder(credential.certificate_chain)
        case AuthoritiesFilesCredential():
            message.validation_context.trusted_ca.filename = credential.certificates
            message.validation_context.watched_directory.path = _folder(credential.certificates)
            if credential.revocation_list:
                message.validation_context.crl.filename = credential.revocation_list
    return resource(types.SECRET, credential.name, message, credential.origin)


def _folder(file: str) -> str:
    """The folder whose changes make a proxy read a file anew: files are replaced by renaming others."""
    return posixpath.dirname(file) or "."
