"""`fairlead serve`: the control plane itself."""

import os
from pathlib import Path
from typing import Annotated

import typer
import xxhash

from fairlead.cli.output import fail
from fairlead.errors import FairleadError
from fairlead.server.run import run
from fairlead.server.settings import Settings, parse_address, parse_advertised
from fairlead.server.telemetry import LogFormat, LogLevel
from fairlead.sources.files.source import FilesSource

Paths = Annotated[list[Path], typer.Argument(help="Folders and files with objects, in YAML or JSON.")]
LogFormatOption = Annotated[
    LogFormat, typer.Option(help="Log for people, or an object of JSON a line.", envvar="FAIRLEAD_LOG_FORMAT")
]
LogLevelOption = Annotated[LogLevel, typer.Option(help="The least that is logged.", envvar="FAIRLEAD_LOG_LEVEL")]


def default_state_dir(paths: list[Path]) -> Path | None:
    """Where accepted documents of these paths are kept; None when there is no home directory."""
    base = os.environ.get("XDG_STATE_HOME")
    if base is None and (home := os.environ.get("HOME")):
        base = str(Path(home) / ".local" / "state")
    if base is None:
        return None
    return (
        Path(base) / "fairlead" / xxhash.xxh3_64_hexdigest("\0".join(str(path.absolute()) for path in paths).encode())
    )


def serve(
    paths: Paths,
    xds_address: Annotated[
        str, typer.Option(help="IP:PORT on which xDS is served to proxies.", envvar="FAIRLEAD_XDS_ADDRESS")
    ] = "127.0.0.1:18000",
    admin_address: Annotated[
        str, typer.Option(help="IP:PORT of health, readiness, status, metrics.", envvar="FAIRLEAD_ADMIN_ADDRESS")
    ] = "127.0.0.1:18001",
    runtime_address: Annotated[
        str,
        typer.Option(
            help="IP:PORT of the services that proxies call while they serve requests, such as the rate limit service. "
            "They are started when an object needs them.",
            envvar="FAIRLEAD_RUNTIME_ADDRESS",
        ),
    ] = "127.0.0.1:18002",
    runtime_advertised_address: Annotated[
        str,
        typer.Option(
            help="HOST:PORT at which proxies reach these services. Default: --runtime-address.",
            envvar="FAIRLEAD_RUNTIME_ADVERTISED_ADDRESS",
        ),
    ] = "",
    no_runtime: Annotated[
        bool,
        typer.Option(
            "--no-runtime", help="Do not start these services: others are there, of `fairlead ratelimit` for example."
        ),
    ] = False,
    redis_url: Annotated[
        str,
        typer.Option(
            help="Count requests in this Redis, so that the limits of several servers hold for all of them together: "
            "redis://HOST:PORT, rediss:// for TLS, or unix://PATH.",
            envvar="FAIRLEAD_REDIS_URL",
        ),
    ] = "",
    reuse_port: Annotated[
        bool,
        typer.Option(
            "--reuse-port",
            help="Let several servers of this user listen on the xDS address, each with this option and with an "
            "--admin-address of its own.",
        ),
    ] = False,
    xds_socket: Annotated[Path | None, typer.Option(help="Unix socket on which xDS is served too.")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="PEM file: serve xDS over TLS with this certificate.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM file: its key.")] = None,
    client_ca: Annotated[
        Path | None, typer.Option(help="PEM file: proxies must show a certificate of one of these CAs.")
    ] = None,
    trust_domain: Annotated[
        str,
        typer.Option(
            help="Proxies must show a SPIFFE id of this trust domain, for example cluster.local. Default: of any that "
            "the CA vouches for."
        ),
    ] = "",
    allow_unidentified_proxies: Annotated[
        bool,
        typer.Option(
            "--allow-unidentified-proxies",
            help="Serve proxies whose certificate tells no namespace, or over TLS without --client-ca on an address "
            "that other hosts can reach. Each is sent the private keys of the namespace that it names.",
        ),
    ] = False,
    allow_plaintext_secrets_off_host: Annotated[
        bool,
        typer.Option(
            "--allow-plaintext-secrets-off-host",
            help="Serve without TLS on an address that other hosts can reach. Private keys travel in plaintext.",
        ),
    ] = False,
    state_dir: Annotated[
        Path | None,
        typer.Option(
            help="Folder, for this user only, in which accepted objects are kept, so that a restart while a file is "
            "broken loses nothing. Default: below ~/.local/state/fairlead.",
            envvar="FAIRLEAD_STATE_DIR",
        ),
    ] = None,
    deletion_grace: Annotated[
        float, typer.Option(help="Seconds for which an object must be absent before it is removed.")
    ] = 0.5,
    strict_secret_names: Annotated[
        bool,
        typer.Option(
            "--strict-secret-names", help="Do not serve Secrets whose names ASM reserves (istio*, prometheus*)."
        ),
    ] = False,
    drain_seconds: Annotated[
        float,
        typer.Option(help="Seconds over which proxies are sent away when the server stops; few are at once."),
    ] = 5.0,
    log_format: LogFormatOption = LogFormat.TEXT,
    log_level: LogLevelOption = LogLevel.INFO,
) -> None:
    """Watch folders of objects, and serve Envoy proxies over xDS.

    For example: fairlead serve examples/canary
    """
    try:
        settings = Settings(
            paths=tuple(paths),
            xds_address=parse_address(xds_address, "--xds-address"),
            reuse_port=reuse_port,
            xds_socket=xds_socket,
            admin_address=parse_address(admin_address, "--admin-address"),
            runtime_address=parse_address(runtime_address, "--runtime-address"),
            runtime_advertised_address=parse_advertised(runtime_advertised_address, "--runtime-advertised-address")
            if runtime_advertised_address
            else None,
            runtime=not no_runtime,
            redis_url=redis_url,
            tls_certificate=tls_cert,
            tls_key=tls_key,
            client_authorities=client_ca,
            trust_domain=trust_domain,
            allow_unidentified_proxies=allow_unidentified_proxies,
            allow_plaintext_secrets_off_host=allow_plaintext_secrets_off_host,
            state_dir=state_dir or default_state_dir(paths),
            deletion_grace=deletion_grace,
            strict_secret_names=strict_secret_names,
            drain_seconds=drain_seconds,
            log_format=log_format,
            log_level=log_level,
        )
        source = FilesSource(settings.paths, deletion_grace=settings.deletion_grace, state_dir=settings.state_dir)
        run(settings, source)
    except (FairleadError, OSError) as error:
        fail(str(error))
