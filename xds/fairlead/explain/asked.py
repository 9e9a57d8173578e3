"""What people ask about: a URL, and what else a request has."""

import ipaddress
import urllib.parse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fairlead.errors import SettingsError
from fairlead.simulation import Request

_PORTS = {"http": 80, "https": 443}
_BYTES = ("tcp", "tls")
_SCHEMES = (*_PORTS, *_BYTES)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request in the words of a client."""

    scheme: str
    """`http`, `https`; `tcp` or `tls` for a connection without HTTP."""
    host: str
    port: int
    """As the client knows it: that of the Service in front of the proxy, or of the proxy."""
    path: str = "/"
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    server_name: str | None = None
    source_address: str = ""
    address: str = ""
    """The URL's host where it is an IP address: the client connects to that, whatever host it asks for."""

    @classmethod
    def of(
        cls, url: str, method: str = "GET", headers: Iterable[str] = (), server_name: str = "", source_address: str = ""
    ) -> "Asked":
        """Read a URL, headers as `name: value`, and what else there is; raises `SettingsError` with what is wrong."""
        parts = urllib.parse.urlsplit(url if "://" in url else f"http://{url}")
        try:
            port = parts.port
        except ValueError as error:
            raise SettingsError(f"the URL {url!r} has no good port: {error}") from error
        if parts.scheme not in _SCHEMES:
            raise SettingsError(f"the URL begins with {parts.scheme}://; use one of {', '.join(_SCHEMES)}")
        if not parts.hostname:
            raise SettingsError(f"the URL {url!r} has no host; write such as https://shop.example.com/cart")
        if port is None and parts.scheme in _BYTES:
            raise SettingsError(f"the URL {url!r} has no port; write such as {parts.scheme}://db.example.com:5432")
        if source_address and not _is_address(source_address):
            raise SettingsError(f"--source-ip is {source_address!r}, which is no IP address")
        given = dict(map(_header, headers))
        named = urllib.parse.urlsplit(f"//{given.pop('host', '')}").hostname
        return cls(
            scheme=parts.scheme,
            # As curl does: the header goes before the URL, and the server name is the URL's.
            host=named or parts.hostname,
            port=port or _PORTS[parts.scheme],
            path=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
            method=method.upper(),
            headers=given,
            server_name=server_name or (parts.hostname if named else None),
            source_address=source_address,
            address=parts.hostname if _is_address(parts.hostname) else "",
        )

    def __str__(self) -> str:
        if self.scheme in _BYTES:
            return f"{self.scheme}://{self._authority}"
        headers = "".join(f" {name}: {value};" for name, value in self.headers.items()).removesuffix(";")
        return f"{self.method} {self.scheme}://{self._authority}{self.path}" + (f" with{headers}" if headers else "")

    @property
    def _authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if _PORTS.get(self.scheme) == self.port else f"{host}:{self.port}"

    @property
    def tls(self) -> bool:
        """Whether the client begins with TLS."""
        return self.scheme in ("https", "tls")

    def request(self, port: int, listener_address: str = "") -> Request:
        """As it arrives at that port of a proxy, and at that address where several listeners have the port."""
        return Request(
            port=port,
            listener_address=listener_address,
            host=self.host,
            path=self.path,
            method=self.method,
            headers=self.headers,
            tls=self.tls,
            server_name=self.server_name,
            source_address=self.source_address,
        )


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise SettingsError(f"--header is {text!r}; write name: value")
    return name.strip().lower(), value.strip()
