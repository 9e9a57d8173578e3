"""TLS that the proxy speaks to a backend, by the `tls` of a DestinationRule."""

from collections.abc import Iterator

from fairlead.derive import derived
from fairlead.intent import Backend, TlsOrigination, UpstreamProtocol, Validation
from fairlead.models.core import Secret
from fairlead.models.istio.destination_rule import ClientTLSMode, ClientTLSSettings
from fairlead.problems import Problem, error
from fairlead.resolve import credentials, mesh
from fairlead.resolve.destination_rules import Located
from fairlead.resolve.istio.server_tls import parameters
from fairlead.resolve.outcome import Outcome
from fairlead.resolve.scope import Viewer
from fairlead.resolve.services import ServiceView
from fairlead.world import ObjectName, World

_SYSTEM = "system"
"""Value of `caCertificates` that means the CA certificates of the proxy's host."""
_HTTP2_ALPN = "h2"
_MESH_ALPN = "istio"


def is_originated(tls: Located[ClientTLSSettings] | None) -> bool:
    """Whether the proxy makes the TLS that a service expects by its port."""
    return tls is not None and tls.value.mode in (ClientTLSMode.SIMPLE, ClientTLSMode.MUTUAL)


@derived
def _has_workload_certificate(world: World, namespace: str) -> bool:
    return world.objects(Secret).get(ObjectName(namespace, credentials.WORKLOAD_CERTIFICATE)) is not None


def originate(
    world: World,
    viewer: Viewer,
    backend: Backend,
    tls: Located[ClientTLSSettings] | None,
    *,
    view: ServiceView,
    protocol: UpstreamProtocol,
) -> Outcome[TlsOrigination | None]:
    """How TLS is spoken to the endpoints of a service; `protocol` is what is spoken inside.

    Certificates are checked against the `-cacert` of the credential or, without one, against `caCertificates` or the
    CA certificates of the proxy's host. They must have one of the names given, or else of the ServiceEntry; without
    such, and without an SNI, the name of the host that a request is for. ISTIO_MUTUAL is all of it by the workload
    certificate of the proxies' namespace: any certificate of the mesh's CA will do, unless names are given.
    """
    if tls is None or tls.value.mode is ClientTLSMode.DISABLE:
        return Outcome(None)
    settings = tls.value
    names = settings.subject_alt_names or view.subject_alternative_names
    if settings.mode is ClientTLSMode.ISTIO_MUTUAL:
        if not _has_workload_certificate(world, viewer.namespace):
            return Outcome(None, (_unavailable(tls, viewer),))
        return Outcome(_within_mesh(settings, names, backend, protocol))
    unchecked = bool(settings.insecure_skip_verify)
    authorities = ""
    if settings.credential_name:
        authorities = credentials.authorities_name(settings.credential_name)
    elif settings.ca_certificates not in ("", _SYSTEM):
        authorities = credentials.authorities_file_name(settings.ca_certificates, settings.ca_crl)
    origination = TlsOrigination(
        server_name=settings.sni,
        credential=_key_pair(settings) if settings.mode is ClientTLSMode.MUTUAL else "",
        validation=None
        if unchecked
        else Validation(
            authorities=authorities,
            system_authorities=not authorities,
            revocation_list_file="" if authorities else settings.ca_crl,
            subject_alternative_names=names,
        ),
        match_request_host=not (unchecked or names or settings.sni) and protocol is not UpstreamProtocol.TCP,
        parameters=parameters(None, mesh.tls_defaults(world)),
        alpn=(_HTTP2_ALPN,) if protocol is UpstreamProtocol.HTTP2 else (),
    )
    return Outcome(origination, tuple(_of_names(tls, protocol)))


def _key_pair(settings: ClientTLSSettings) -> str:
    """The credential that is presented."""
    if settings.credential_name:
        return credentials.resource_name(settings.credential_name)
    if settings.client_certificate and settings.private_key:
        return credentials.key_pair_files_name(settings.client_certificate, settings.private_key)
    return ""


def _within_mesh(
    settings: ClientTLSSettings, names: tuple[str, ...], backend: Backend, protocol: UpstreamProtocol
) -> TlsOrigination:
    """TLS between workloads, with the server name and protocols by which Istio's proxies know it."""
    return TlsOrigination(
        server_name=settings.sni or f"outbound_.{backend.port}_.{backend.subset}_.{backend.host}",
        credential=credentials.resource_name(credentials.WORKLOAD_CERTIFICATE),
        validation=Validation(
            authorities=credentials.authorities_name(credentials.WORKLOAD_CERTIFICATE), subject_alternative_names=names
        ),
        alpn=(_MESH_ALPN, _HTTP2_ALPN) if protocol is UpstreamProtocol.HTTP2 else (_MESH_ALPN,),
    )


def _unavailable(tls: Located[ClientTLSSettings], viewer: Viewer) -> Problem:
    secret = f"{viewer.namespace}/{credentials.WORKLOAD_CERTIFICATE}"
    return error(
        "no-workload-certificates",
        f"requests are sent in plaintext: mode ISTIO_MUTUAL needs the Secret {secret}, which there is not",
        key=tls.key,
        path=(*tls.path, "mode"),
        hint="put tls.crt, tls.key and ca.crt into that Secret, or use mode DISABLE if plaintext is meant",
    )


def _of_names(tls: Located[ClientTLSSettings], protocol: UpstreamProtocol) -> Iterator[Problem]:
    if protocol is UpstreamProtocol.TCP and not tls.value.sni:
        message = "no server name is asked for, because bytes that are not HTTP name no host"
        yield tls.warning("no-server-name", message, hint="set sni")
