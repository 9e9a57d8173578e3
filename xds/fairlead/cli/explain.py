"""`fairlead explain`: where a request goes, and why."""

import enum
import json
import urllib.parse
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from fairlead.check.suppression import unsuppressed
from fairlead.cli.admin import ask
from fairlead.cli.offline import all_problems, load
from fairlead.cli.output import OUT, fail
from fairlead.cli.proxies import chosen, name_of
from fairlead.cli.render import resources
from fairlead.errors import AdminError, SettingsError
from fairlead.explain import Asked, Explanation, as_text, most_telling
from fairlead.explain import explain as explain_one
from fairlead.resolve.selection import selection
from fairlead.server.settings import parse_address
from fairlead.server.subjects import completed, subject
from fairlead.status import one_line


class Format(enum.StrEnum):
    """How to write."""

    TEXT = "text"
    JSON = "json"


def explain(
    url: Annotated[str, typer.Argument(help="Such as https://shop.example.com/cart, or tcp://db.example.com:5432.")],
    paths: Annotated[
        list[Path] | None,
        typer.Argument(help="Folders and files with objects. Without: the running server at --admin-address is asked."),
    ] = None,
    method: Annotated[str, typer.Option("--method", "-X", help="Method of the request.")] = "GET",
    header: Annotated[
        list[str] | None, typer.Option("--header", "-H", help="A header, 'name: value'; may be given several times.")
    ] = None,
    sni: Annotated[str, typer.Option(help="Server name that TLS asks for. Default: the URL's host.")] = "",
    source_ip: Annotated[str, typer.Option(help="IP address of the client.")] = "",
    proxy: Annotated[
        str,
        typer.Option(
            help="At this proxy: [sidecar:]NAMESPACE/k=v,... with paths, else its id. Without: all that take it."
        ),
    ] = "",
    namespace: Annotated[str, typer.Option(help="Namespace of the proxy that --labels describes.")] = "default",
    labels: Annotated[str, typer.Option(help="Labels of a proxy, k=v,...; with paths only.")] = "",
    admin_address: Annotated[
        str, typer.Option(help="IP:PORT of a server's admin endpoint.", envvar="FAIRLEAD_ADMIN_ADDRESS")
    ] = "127.0.0.1:18001",
    output: Annotated[Format, typer.Option("--format", help="For people, or for scripts.")] = Format.TEXT,
) -> None:
    """Say where a request goes and why: listener, certificate, route, cluster, endpoints, and the line behind each.

    Exit code 0 when it ends as somebody has configured (a backend, a redirect, an answer of the proxy), 1 when it does
    not (refused, no route, no endpoint), 2 when the command cannot be carried out.

    \b
    fairlead explain https://shop.example.com/cart examples/https-gateway
    fairlead explain http://shop.example.com/ -X POST -H 'x-user: jason'
    curl's way:  fairlead explain http://127.0.0.1:8080/ -H 'Host: shop.example.com' folder/
    """  # noqa: D301  # \b keeps typer from filling the lines
    try:
        asked = Asked.of(url, method, header or (), sni, source_ip)
        if paths:
            found = _offline(asked, paths, proxy, namespace, labels)
        else:
            query = {"url": url, "method": method, "header": header or [], "sni": sni, "source_ip": source_ip}
            query = {name: value for name, value in {**query, "proxy": proxy}.items() if value}
            address = parse_address(admin_address, "--admin-address")
            found = ask(
                address,
                f"/explain?{urllib.parse.urlencode(query, doseq=True)}",
                lambda answer: list(map(Explanation.from_json, answer)),
            )
    except (AdminError, SettingsError) as error:
        fail(str(error))
    if not found:
        fail(
            "no object tells of a proxy; name one with --proxy"
            if paths
            else "no proxy is connected; give the paths of objects instead"
        )
    if output is Format.JSON:
        print(json.dumps([item.as_json() for item in found], indent=2))
    else:
        text = "\n".join(as_text(item) for item in found)
        OUT.print("\n".join(map(one_line, text.splitlines())), markup=False)
    if not any(item.served for item in found):
        raise typer.Exit(1)


def _offline(asked: Asked, paths: Sequence[Path], proxy: str, namespace: str, labels: str) -> list[Explanation]:
    world, reading = load(paths)
    now = datetime.now(UTC)
    explanations, selections = {}, {}
    for each in chosen(world, proxy, namespace, labels):
        name, selected = name_of(each), selection(world, each)
        about = subject(world, each, selected, name, list(resources(world, each)), asked.host)
        explanations[name], selections[name] = explain_one(about, asked, now), selected
    problems = unsuppressed(world, all_problems(world, reading), ()) if explanations else []
    return [
        completed(found, world, selections[found.proxy], asked.host, problems, reading.locate)
        for found in most_telling(list(explanations.values()))
    ]
