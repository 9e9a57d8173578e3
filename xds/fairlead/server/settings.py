"""What a server is told when it is started."""

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from fairlead.errors import SettingsError
from fairlead.intent import Endpoint
from fairlead.server.identity import TRUST_DOMAIN
from fairlead.server.telemetry import LogFormat, LogLevel
from fairlead.world import DEFAULT_RUNTIME

_LONGEST_DRAIN = 3600.0
_LABEL = r"[a-zA-Z0-9]([-\w]{0,61}[a-zA-Z0-9])?"
_HOST_NAME = re.compile(rf"(?=.{{1,253}}$)({_LABEL}\.)*(?![0-9]+$){_LABEL}", re.ASCII)
"""Addresses end in a number, names do not."""


class Address(NamedTuple):
    """Where a server listens on TCP, or where others find it."""

    host: str
    port: int
    """0: any free port."""

    def __str__(self) -> str:
        """`host:port`, as it is dialled."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_wildcard(self) -> bool:
        """It stands for all addresses of the host."""
        return self.host in {"0.0.0.0", "::"}

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


def parse_advertised(text: str, option: str) -> Address:
    """`HOST:PORT` with an IP address or a host name; raises `SettingsError` that names the option."""
    host, _, port = text.rpartition(":")
    try:
        # Of a name, the port alone is judged.
        found = parse_address(f"127.0.0.1:{port}" if _HOST_NAME.fullmatch(host) else text, option)
    except SettingsError:
        found = Address("", 0)
    if not found.port or found.is_wildcard:
        raise SettingsError(f"{option} is {text!r}; write HOST:PORT, for example fairlead.example.com:18002")
    return Address(host.strip("[]"), found.port)


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
    runtime_address: Address = Address(DEFAULT_RUNTIME.address, DEFAULT_RUNTIME.port)
    """Where the services listen that proxies call while they serve requests."""
    runtime_advertised_address: Address | None = None
    """Where proxies reach them, if not there."""
    runtime: bool = True
    """False: others serve there, `fairlead ratelimit` for example."""
    redis_url: str = ""
    """The Redis in which they count requests, so that several servers count as one; empty: each counts for itself."""
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

    @property
    def runtime_endpoint(self) -> Endpoint:
        """Where proxies reach our services that they call while they serve requests."""
        return Endpoint(*(self.runtime_advertised_address or self.runtime_address))

    @property
    def is_runtime_out_of_reach(self) -> bool:
        """Proxies may be on other hosts, but are told an address of their own host."""
        is_told_elsewhere = self.runtime_advertised_address is not None
        return not is_told_elsewhere and self.runtime_address.is_loopback and not self.xds_address.is_loopback

    def check_counting(self) -> None:
        """Raises `SettingsError` when requests cannot be counted where they are to be."""
        from fairlead.runtime.services import counters

        try:
            counters(self.redis_url)
        except ImportError:
            raise SettingsError("--redis-url needs redis-py; install fairlead[redis]") from None
        except ValueError as error:
            raise SettingsError(f"--redis-url cannot be used: {error}") from None

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
        self._check_runtime()
        if not self.deletion_grace >= 0:
            raise SettingsError(f"--deletion-grace is {self.deletion_grace:g}; give 0 or more seconds")
        if not 0 <= self.drain_seconds <= _LONGEST_DRAIN:
            raise SettingsError(f"--drain-seconds is {self.drain_seconds:g}; give 0 to {_LONGEST_DRAIN:g} seconds")

    def _check_runtime(self) -> None:
        self.check_counting()
        address = self.runtime_address
        if not address.port:
            raise SettingsError("--runtime-address needs a port: proxies are told it before anything listens there")
        if address.is_wildcard and self.runtime_advertised_address is None:
            raise SettingsError(
                f"--runtime-address {address} tells proxies nowhere to go; give --runtime-advertised-address "
                "HOST:PORT, at which they reach this host"
            )

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
