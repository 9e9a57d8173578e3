"""`fairlead pki`: certificates for a start, so that TLS between proxies and control plane is no work.

A folder with a CA, the server's certificate and those of proxies. It works offline, and knows no more than its files;
whoever has certificates from elsewhere does not need it.
"""

import ipaddress
import os
import re
import shlex
import stat
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from fairlead.certificates.issuing import Issued, Purpose, issue
from fairlead.certificates.reading import hosts_of
from fairlead.cli.output import fail
from fairlead.errors import SettingsError
from fairlead.server.identity import spiffe_id

pki = typer.Typer(
    help="Make certificates for the server and its proxies: a CA of one's own, for a start. Needs no server.",
    no_args_is_help=True,
)

_LONGEST_COMMON_NAME = 64
_CLOCK_SKEW = timedelta(hours=1)
"""Certificates begin that much before now, for hosts whose clocks are behind."""
_DEFAULT_NAMES = ("127.0.0.1", "::1", "localhost")
_DNS_NAME = re.compile(r"(?=.{1,253}$)(\*\.)?[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")

Folder = Annotated[Path, typer.Argument(help="Folder of the CA and all that it signs.", metavar="DIR")]
TrustDomain = Annotated[str, typer.Option(help="SPIFFE trust domain of the proxies: what their names have in common.")]
Days = Annotated[int, typer.Option(min=1, max=36_500, help="For how many days the certificate is valid.")]
ServerNames = Annotated[
    list[str] | None,
    typer.Option(
        "--server-name",
        help="DNS name or IP address under which proxies reach the server; may be given several times. "
        f"Default: {', '.join(_DEFAULT_NAMES)}.",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a certificate and key that are there.")]


@pki.command()
def init(
    folder: Folder,
    server_name: ServerNames = None,
    trust_domain: TrustDomain = "cluster.local",
    days: Days = 365,
    ca_days: Annotated[int, typer.Option(min=1, max=36_500, help="For how many days the CA is valid.")] = 3650,
) -> None:
    """Make a CA and the certificate of the server.

    For example: fairlead pki init pki --server-name fairlead.example
    """
    try:
        names = _checked(server_name)
        spiffe_id(trust_domain, "default", "default")
        authority_files, server_files = _Files(folder, "ca"), _Files(folder, "server")
        for files in (authority_files, server_files):
            files.check_absent(
                "a CA is made once, for all that it has signed would be refused; remove the folder to begin anew, or "
                "give another one"
            )
        authority = issue("Fairlead CA", start=_start(), lifetime=timedelta(days=ca_days) + _CLOCK_SKEW)
        _make_folder(folder)
        authority_files.write(authority)
        server_files.write(_server(authority, names, days))
    except (SettingsError, OSError) as error:
        fail(str(error))
    print(f"{folder} holds a CA, and a certificate of the server for {', '.join(names)}.")
    print(f"{authority_files.key} signs: keep it where you sign, for neither server nor proxies need it.")
    print("\nServe with it:")
    every_address = "'[::]:18000'" if ":" in names[0] else "0.0.0.0:18000"
    reachable = "" if _is_loopback(names[0]) else f" --xds-address {every_address}"
    print(
        f"  fairlead serve FOLDER{reachable} --tls-cert {server_files.quoted_certificate}"
        f" --tls-key {server_files.quoted_key} --client-ca {authority_files.quoted_certificate}"
        f" --trust-domain {trust_domain}"
    )
    print("\nThen, for each kind of gateway, its certificate and bootstrap:")
    more = "" if trust_domain == "cluster.local" else f" --trust-domain {trust_domain}"
    print(f"  fairlead pki proxy {shlex.quote(str(folder))} --namespace default --service-account edge{more}")


@pki.command()
def server(folder: Folder, server_name: ServerNames = None, days: Days = 365, overwrite: Overwrite = False) -> None:
    """Make another certificate of the server, with the CA that is there: for other names, or before it expires.

    A server that runs takes it without a restart. For example: fairlead pki server pki --overwrite
    """
    try:
        names = _checked(server_name)
        files = _Files(folder, "server")
        if not overwrite:
            files.check_absent("give --overwrite to replace it")
        files.write(_server(_authority(folder), names, days))
    except (SettingsError, OSError) as error:
        fail(str(error))
    print(f"{files.certificate} is a certificate of the server for {', '.join(names)}.")


@pki.command()
def proxy(
    folder: Folder,
    namespace: Annotated[str, typer.Option(help="Namespace of the proxies: the Secrets of this one are theirs.")],
    service_account: Annotated[str, typer.Option(help="What the proxies of the namespace are called.")] = "edge",
    trust_domain: TrustDomain = "cluster.local",
    days: Days = 365,
    overwrite: Overwrite = False,
) -> None:
    """Make the certificate of proxies: it binds them to a namespace. Replicas may share it.

    A proxy that runs takes a replaced one without a restart. For example:
    fairlead pki proxy pki --namespace default --service-account edge
    """
    try:
        name = spiffe_id(trust_domain, namespace, service_account)
        files = _Files(folder, f"{namespace}.{service_account}")
        if not overwrite:
            files.check_absent("give --overwrite to replace it")
        authority = _authority(folder)
        issued = issue(
            service_account[:_LONGEST_COMMON_NAME],
            start=_start(),
            lifetime=_lifetime(authority, days),
            uris=[name],
            purpose=Purpose.CLIENT,
            issuer=authority,
        )
        files.write(issued)
        host = _server_host(folder)
    except (SettingsError, OSError) as error:
        fail(str(error))
    print(f"{files.certificate} is a certificate of proxies for {name}.")
    print("\nStart one with it:")
    print(
        f"  fairlead bootstrap --id {service_account}-1 --namespace {namespace} --labels app={service_account}"
        f" --xds-address {_address(host)} --server-ca {_Files(folder, 'ca').quoted_certificate} --server-name {host}"
        f" --client-cert {files.quoted_certificate} --client-key {files.quoted_key} > {service_account}-1.json"
    )
    print(f"  envoy -c {service_account}-1.json")


# --- Certificates -----------------------------------------------------------------------------------------------------


def _start() -> datetime:
    return datetime.now(UTC).replace(microsecond=0) - _CLOCK_SKEW


def _server(authority: Issued, names: list[str], days: int) -> Issued:
    return issue(
        names[0][:_LONGEST_COMMON_NAME],
        start=_start(),
        lifetime=_lifetime(authority, days),
        hosts=names,
        purpose=Purpose.SERVER,
        issuer=authority,
    )


def _lifetime(authority: Issued, days: int) -> timedelta:
    """Of a certificate that begins at `_start`: it ends with its CA at the latest, for it counts no longer."""
    return min(timedelta(days=days) + _CLOCK_SKEW, authority.end - _start())


def _authority(folder: Path) -> Issued:
    """The CA of a folder; raises `SettingsError` when it cannot sign."""
    files = _Files(folder, "ca")
    if not files.certificate.exists():
        raise SettingsError(f"{folder} holds no CA; make one with: fairlead pki init {shlex.quote(str(folder))}")
    try:
        authority = Issued.load(files.certificate.read_bytes(), files.key.read_bytes())
    except ValueError as error:
        raise SettingsError(f"{files.certificate} and {files.key} cannot sign: {error}") from None
    if not authority.is_authority:
        raise SettingsError(f"{files.certificate} is no CA's certificate")
    if authority.end <= datetime.now(UTC):
        raise SettingsError(
            f"{files.certificate} expired on {authority.end:%Y-%m-%d}; make another CA, in another folder"
        )
    return authority


def _checked(names: list[str] | None) -> list[str]:
    """The names of a server; raises `SettingsError` when one is none."""
    checked = []
    for name in names or _DEFAULT_NAMES:
        try:
            checked.append(str(ipaddress.ip_address(name)))
        except ValueError:
            if _DNS_NAME.fullmatch(name.lower()) is None:
                raise SettingsError(f"--server-name is {name!r}; write a DNS name or an IP address") from None
            checked.append(name.lower())
    return checked


def _server_host(folder: Path) -> str:
    """Where proxies reach the server, by its certificate; loopback when there is none or it cannot be read."""
    try:
        names = hosts_of(_Files(folder, "server").certificate.read_bytes())
    except (OSError, ValueError):
        names = []
    return next((name for name in names if not _is_loopback(name) and not name.startswith("*")), "127.0.0.1")


def _address(host: str) -> str:
    return f"'[{host}]:18000'" if ":" in host else f"{host}:18000"


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


# --- Files ------------------------------------------------------------------------------------------------------------


class _Files:
    """A certificate and its key in a folder; both are for this user only."""

    def __init__(self, folder: Path, name: str) -> None:
        self.certificate = folder / f"{name}.pem"
        self.key = folder / f"{name}.key"

    @property
    def quoted_certificate(self) -> str:
        """As a shell reads it."""
        return shlex.quote(str(self.certificate))

    @property
    def quoted_key(self) -> str:
        """As a shell reads it."""
        return shlex.quote(str(self.key))

    def check_absent(self, advice: str) -> None:
        """Raises `SettingsError` when one of the files is there."""
        for path in (self.certificate, self.key):
            if path.exists() or path.is_symlink():
                raise SettingsError(f"{path} is there already: {advice}")

    def write(self, issued: Issued) -> None:
        """Write both, each in one step."""
        content: Mapping[Path, bytes] = {self.key: issued.key_pem.reveal(), self.certificate: issued.certificate_pem}
        beside = {path: path.with_name(f".{path.name}.new") for path in content}
        for path, text in content.items():
            beside[path].unlink(missing_ok=True)
            with os.fdopen(os.open(beside[path], os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(text)
        for path, new in beside.items():
            new.replace(path)


def _make_folder(folder: Path) -> None:
    """Raises `SettingsError` when others could put files of their own into it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if stat.S_IMODE(folder.stat().st_mode) & 0o022:
        raise SettingsError(f"others may write to {folder}; take that from them (chmod go-w), or give a new folder")
