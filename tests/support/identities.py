"""A CA with the server's files, and what clients may show to it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
from fairlead.certificates.issuing import Issued, Purpose, issue

YEAR = timedelta(days=365)


def authority(name: str = "Test CA") -> Issued:
    return issue(name, start=_now() - timedelta(hours=1), lifetime=YEAR)


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def of_namespace(namespace: str, account: str = "edge", trust_domain: str = "cluster.local") -> str:
    return f"spiffe://{trust_domain}/ns/{namespace}/sa/{account}"


class Identities:
    """Files for a server with mutual TLS on 127.0.0.1, and credentials of its clients."""

    def __init__(self, folder: Path) -> None:
        self.authority = authority()
        self.authorities, self._certificate, self._key = (folder / f"{name}.pem" for name in ("ca", "server", "key"))
        self.trust(self.authority)
        server = self.issue(hosts=("127.0.0.1",), purpose=Purpose.SERVER)
        self._certificate.write_bytes(server.certificate_pem)
        self._key.write_bytes(server.key_pem.reveal())

    @property
    def settings(self) -> dict[str, Any]:
        return {
            "tls_certificate": self._certificate,
            "tls_key": self._key,
            "client_authorities": self.authorities,
        }

    def trust(self, *authorities: Issued) -> None:
        """Let the server accept clients of these CAs, and of no others."""
        beside = self.authorities.with_suffix(".new")
        beside.write_bytes(b"".join(each.certificate_pem for each in authorities))
        beside.rename(self.authorities)

    def issue(
        self,
        *uris: str,
        hosts: tuple[str, ...] = (),
        issuer: Issued | None = None,
        begins: timedelta = timedelta(hours=-1),
        ends: timedelta = YEAR,
        purpose: Purpose | None = Purpose.CLIENT,
    ) -> Issued:
        """A certificate whose times count from now."""
        return issue(
            "client",
            start=_now() + begins,
            lifetime=ends - begins,
            uris=uris,
            hosts=hosts,
            purpose=purpose,
            issuer=issuer or self.authority,
        )

    def shows(self, shown: Issued | None) -> grpc.ChannelCredentials:
        """Credentials of a client that knows the server, and shows that; None: nothing."""
        key, chain = (shown.key_pem.reveal(), shown.certificate_pem) if shown else (None, None)
        return grpc.ssl_channel_credentials(self.authority.certificate_pem, key, chain)

    def client(self, *uris: str, **more: Any) -> grpc.ChannelCredentials:
        """Credentials of a client with such a certificate; see `issue`."""
        return self.shows(self.issue(*uris, **more))
