"""`fairlead ratelimit`: the runtime services alone."""

from pathlib import Path
from typing import Annotated

import typer

from fairlead.cli.output import fail
from fairlead.cli.serve import LogFormatOption, LogLevelOption, Paths, default_state_dir
from fairlead.errors import FairleadError
from fairlead.server.rate_limit import run_rate_limit
from fairlead.server.settings import Settings, parse_address
from fairlead.server.telemetry import LogFormat, LogLevel
from fairlead.sources.files.source import FilesSource


def ratelimit(
    paths: Paths,
    runtime_address: Annotated[
        str, typer.Option(help="IP:PORT of the services.", envvar="FAIRLEAD_RUNTIME_ADDRESS")
    ] = "127.0.0.1:18002",
    admin_address: Annotated[
        str, typer.Option(help="IP:PORT of health, readiness and metrics.", envvar="FAIRLEAD_ADMIN_ADDRESS")
    ] = "127.0.0.1:18003",
    redis_url: Annotated[
        str,
        typer.Option(
            help="Count requests in this Redis, so that limits hold for several of these processes together: "
            "redis://HOST:PORT, rediss:// for TLS, or unix://PATH.",
            envvar="FAIRLEAD_REDIS_URL",
        ),
    ] = "",
    reuse_port: Annotated[
        bool,
        typer.Option(
            "--reuse-port",
            help="Let several processes of this user listen on the address, each with this option and with an "
            "--admin-address of its own.",
        ),
    ] = False,
    state_dir: Annotated[
        Path | None,
        typer.Option(
            help="Folder in which accepted objects are kept, as of `fairlead serve`.", envvar="FAIRLEAD_STATE_DIR"
        ),
    ] = None,
    log_format: LogFormatOption = LogFormat.TEXT,
    log_level: LogLevelOption = LogLevel.INFO,
) -> None:
    """Watch folders of objects, and serve the services that proxies call while they serve requests, without xDS.

    `fairlead serve --no-runtime` on the same folders tells proxies of them. For example:
    fairlead ratelimit /etc/fairlead --redis-url redis://127.0.0.1:6379
    """
    try:
        settings = Settings(
            paths=tuple(paths),
            runtime_address=parse_address(runtime_address, "--runtime-address"),
            admin_address=parse_address(admin_address, "--admin-address"),
            redis_url=redis_url,
            reuse_port=reuse_port,
            state_dir=state_dir or default_state_dir(paths),
            log_format=log_format,
            log_level=log_level,
        )
        run_rate_limit(settings, FilesSource(settings.paths, state_dir=settings.state_dir))
    except (FairleadError, OSError) as error:
        fail(str(error))
