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
    sent_to: str = ""
    """The backend that the route leads to, where the proxy answers instead: a timeout, a limit. What comes of
    it, `status` says, is shown by a real proxy only."""
    copied_to: str = ""
    """A backend that sees the request as well."""
    seconds: float = 0.0
    """How long it takes at least, as a delay is injected."""
    at_once: int = 1
    """How many such requests are sent at the same time."""
    statuses: list[int] = field(default_factory=list)
    """The statuses that occur among them, sorted."""
    stopped: list[str] = field(default_factory=list)
    """Backends that do not run any more. It may take some requests until the answer is as expected."""
    eventually: bool = False
    """It may take some requests until the answer is as expected."""

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
    role: str
    namespace: str
    labels: dict[str, str]
    locality: tuple[str, str, str]
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
        role=proxy.get("role", "gateway"),
        namespace=proxy["namespace"],
        labels=proxy["labels"],
        locality=_locality(proxy.get("locality", "")),
        backends=data["backend"],
        requests=[Expectation(**request) for request in data["request"]],
    )


def _locality(text: str) -> tuple[str, str, str]:
    region, zone, subzone, *_ = (*text.split("/"), "", "")
    return region, zone, subzone
