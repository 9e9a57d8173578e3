"""What the requests to an example shall end in, as its `expected.toml` says."""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = sorted(path.parent.name for path in EXAMPLES.glob("*/expected.toml"))


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """One request, and what it shall end in; see the examples for what may be said."""

    url: str
    method: str = "GET"
    headers: dict[str, str] = field(default_factory=dict)
    client_certificate: str = ""
    """Name of a file in the example's folder `clients`."""
    status: int | None = None
    refused: bool = False
    """There is no HTTP answer: the connection, or the handshake, is refused."""
    backend: str = ""
    certificate: str = ""
    """A DNS name of the certificate that is presented."""
    response_headers: dict[str, str] = field(default_factory=dict)
    request_headers: dict[str, str] = field(default_factory=dict)
    """As the backend sees them."""
    shares: dict[str, int] = field(default_factory=dict)
    """Backend -> percent of such requests."""

    def __str__(self) -> str:
        return f"{self.url} {self.client_certificate or self.headers or ''}".strip()

    @property
    def port(self) -> int:
        port = urlsplit(self.url).port
        assert port is not None, "the port of the proxy is part of an expectation"
        return port

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def tls(self) -> bool:
        return self.url.startswith("https:")

    @property
    def path(self) -> str:
        parts = urlsplit(self.url)
        return parts.path + (f"?{parts.query}" if parts.query else "")


@dataclass(frozen=True, kw_only=True)
class Story:
    """An example with its proxy, its backends and its requests."""

    name: str
    namespace: str
    labels: dict[str, str]
    backends: list[dict[str, Any]]
    requests: list[Expectation]

    @property
    def folder(self) -> Path:
        return EXAMPLES / self.name


def story(name: str) -> Story:
    """Read an example; an unknown key is an error, so that nothing is expected in vain."""
    data = tomllib.loads((EXAMPLES / name / "expected.toml").read_text())
    proxy = data["proxy"]
    return Story(
        name=name,
        namespace=proxy["namespace"],
        labels=proxy["labels"],
        backends=data["backend"],
        requests=[Expectation(**request) for request in data["request"]],
    )
