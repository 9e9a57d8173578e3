"""What a server is told when it is started."""

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from fairlead.errors import SettingsError
from fairlead.server.identity import TRUST_DOMAIN
from fairlead.server.telemetry import LogFormat, LogLevel

_LONGEST_DRAIN = 3600.0


class Address(NamedTuple):
    """Where a server listens on TCP."""

    host: str
    port: int
    """0: any free port."""

    def __str__(self) -> str:
        """`host:port`, as it is dialled."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Only this host can reach it."""
        return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback


def parse_address(text: str, option: str) -> Address:
    """`HOST:PORT` with an IP address or `localhost`; raises `SettingsError` that names the option."""
    host, separator, port = text.rpartition(":")
    host = host.strip("[]")
    if separator and re.fullmatch(r"[0-9]{1,5}", port) and int(port) < 65536:
        if host == "localhost":
            return Address(host, int(port))
        try:
            return Address(str(ipaddress.ip_address(host)), int(port))
        except ValueError:
            pass
    raise SettingsError(f"{option} is {text!r}; write IP:PORT, for example 127.0.0.1:18000")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a server runs. Times are in seconds."""

    paths: tuple[Path, ...]
    """Folders and files with objects."""
    xds_address: Address = Address("127.0.0.1", 18000)
    reuse_port: bool = False
    """Other servers of this user may listen on `xds_address` too: the kernel spreads connections over them."""
    xds_socket: Path | None = None
    """A unix socket on which xDS is served too."""
    admin_address: Address = Address("127.0.0.1", 18001)
    tls_certificate: Path | None = None
    """PEM file; set: xDS on TCP is served over TLS."""
    tls_key: Path | None = None
    client_authorities: Path | None = None
    """PEM file; set: clients must show a certificate of one of these CAs."""
    trust_domain: str = ""
    """Client certificates are of this SPIFFE trust domain; empty: of any that the CAs vouch for."""
    allow_unidentified_proxies: bool = False
    """Believe what clients from elsewhere say of themselves, where no certificate tells their namespace."""
    allow_plaintext_secrets_off_host: bool = False
    """Serve xDS, and with it private keys, in plaintext on an address that other hosts can reach."""
    state_dir: Path | None = None
    """Where accepted documents are kept over a restart."""
    deletion_grace: float = 0.5
    """An object is removed when it has been absent for this long."""
    strict_secret_names: bool = False
    """Secrets whose names ASM reserves are not served."""
    drain_seconds: float = 5.0
    """Over at most this long, streams are ended when the server stops."""

    log_format: LogFormat = LogFormat.TEXT
    log_level: LogLevel = LogLevel.INFO

    def check(self) -> None:
        """Raises `SettingsError` when the settings contradict each other or would give secrets away."""
        if (self.tls_certificate is None) is not (self.tls_key is None):
            raise SettingsError("--tls-cert and --tls-key belong together")
        if self.client_authorities is not None and self.tls_certificate is None:
            raise SettingsError("--client-ca needs --tls-cert and --tls-key: clients show certificates in TLS only")
        if self.trust_domain and not TRUST_DOMAIN.fullmatch(self.trust_domain):
            raise SettingsError(
                f"--trust-domain is {self.trust_domain!r}; write what stands between spiffe:// and the next slash, "
                "for example cluster.local"
            )
        if self.trust_domain and self.client_authorities is None:
            raise SettingsError("--trust-domain needs --client-ca: without it, no client shows a certificate")
        if not self.xds_address.is_loopback:
            self._check_reachable_from_elsewhere()
        if not self.deletion_grace >= 0:
            raise SettingsError(f"--deletion-grace is {self.deletion_grace:g}; give 0 or more seconds")
        if not 0 <= self.drain_seconds <= _LONGEST_DRAIN:
            raise SettingsError(f"--drain-seconds is {self.drain_seconds:g}; give 0 to {_LONGEST_DRAIN:g} seconds")

    def _check_reachable_from_elsewhere(self) -> None:
        if self.tls_certificate is None and not self.allow_plaintext_secrets_off_host:
            raise SettingsError(
                f"--xds-address {self.xds_address} can be reached from other hosts, and private keys would travel in "
                "plaintext; give --tls-cert, --tls-key and --client-ca, or --allow-plaintext-secrets-off-host"
            )
        known = self.client_authorities is not None or self.allow_unidentified_proxies
        if self.tls_certificate is not None and not known:
            raise SettingsError(
                f"--xds-address {self.xds_address} can be reached from other hosts, and whoever connects would be sent "
                "the private keys of the namespace that he names; give --client-ca, or --allow-unidentified-proxies"
            )
