"""TLS of the xDS port: certificates from files, which may be replaced while the server runs."""

import ssl
from pathlib import Path
from typing import Any

import structlog

from fairlead.errors import SettingsError
from fairlead.server.settings import Settings

log = structlog.get_logger()


def server_context(settings: Settings) -> ssl.SSLContext | None:
    """None: plaintext. Files are looked at for each handshake, so that new ones are in force at once.

    Raises `SettingsError` when the files cannot be used; when they cannot later, those from before go on to be used.
    """
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    files = _Files(settings.tls_certificate, settings.tls_key, settings.client_authorities)
    files.read()
    context = _NewestContext(ssl.PROTOCOL_TLS_SERVER)
    context.files = files
    return context


class _NewestContext(ssl.SSLContext):
    """Stands for the newest of contexts when a connection begins.

    To choose it in the handshake would be too late for sessions of TLS 1.2: they are looked up in the context that the
    handshake began with, and who resumes one shows no certificate to new authorities.
    """

    files: "_Files"

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        """What the event loops call for a connection."""
        try:
            context = self.files.read()
        except SettingsError as error:
            log.error(  # noqa: TRY400  # no fault of ours
                "certificates of the xDS port cannot be renewed; those from before are used", error=str(error)
            )
            context = self.files.newest
        return context.wrap_bio(*args, **options)


class _Files:
    newest: ssl.SSLContext

    def __init__(self, certificate: Path, key: Path, authorities: Path | None) -> None:
        self._certificate = certificate
        self._key = key
        self._authorities = authorities
        self._seen: tuple[bytes | None, ...] = ()

    def read(self) -> ssl.SSLContext:
        """What the files hold, the same object while they hold the same; raises `SettingsError`."""
        certificate, key = _content("--tls-cert", self._certificate), _content("--tls-key", self._key)
        authorities = None if self._authorities is None else _content("--client-ca", self._authorities)
        if self._seen == (certificate, key, authorities):
            return self.newest
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["h2"])
        # Whoever comes back shows its certificate again: the authorities may be others than before.
        context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
        context.num_tickets = 0
        try:
            # The empty password is for keys that are encrypted: OpenSSL would ask for one on the terminal.
            context.load_cert_chain(self._certificate, self._key, password="")
        except OSError as error:
            raise SettingsError(f"--tls-cert {self._certificate} and --tls-key {self._key}: {error}") from None
        if authorities is not None:
            try:
                context.load_verify_locations(self._authorities)
            except OSError as error:
                raise SettingsError(f"--client-ca {self._authorities}: {error}") from None
            context.verify_mode = ssl.CERT_REQUIRED
        self._seen, self.newest = (certificate, key, authorities), context
        return context


def _content(option: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{option} {path} cannot be read: {error.strerror}") from None
