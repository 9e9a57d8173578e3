"""`fairlead render`: the resources that proxies would be sent, offline."""

import enum
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from fairlead import translation
from fairlead.cli.offline import load
from fairlead.cli.output import ERR
from fairlead.cli.proxies import chosen, name_of
from fairlead.render.rate_limit_configuration import rate_limit_configuration
from fairlead.render.readable import readable
from fairlead.resolve.governance.global_limits import OWN_DOMAIN, domains
from fairlead.resolve.scope import Proxy
from fairlead.resolve.selection import selection
from fairlead.snapshot import types
from fairlead.snapshot.resource import Resource
from fairlead.world import World


class Format(enum.StrEnum):
    """How to write."""

    YAML = "yaml"
    JSON = "json"


class ResourceType(enum.StrEnum):
    """One type of resources."""

    CDS = "cds"
    EDS = "eds"
    SDS = "sds"
    ECDS = "ecds"
    LDS = "lds"
    RDS = "rds"


def resources(world: World, proxy: Proxy) -> Iterator[Resource]:
    """What a proxy would be sent, in the order of sending, by name."""
    maps = translation.resource_maps(world, selection(world, proxy), proxy)
    for type_url in types.SEND_ORDER:
        if type_url in maps:
            found = maps[type_url]
            yield from sorted(
                (resource for key in list(found.keys()) if (resource := found.get(key)) is not None),  # type: ignore[arg-type]
                key=lambda resource: resource.name,
            )


def render(
    paths: Annotated[list[Path], typer.Argument(help="Folders and files with objects, in YAML or JSON.")],
    proxy: Annotated[
        str,
        typer.Option(
            help="Only for this proxy, [sidecar:]NAMESPACE/k=v,...; without: all that objects must be meant for."
        ),
    ] = "",
    namespace: Annotated[str, typer.Option(help="Namespace of the proxy that --labels describes.")] = "default",
    labels: Annotated[str, typer.Option(help="Labels of a proxy, k=v,...")] = "",
    only: Annotated[ResourceType | None, typer.Option("--type", help="Only resources of this type.")] = None,
    output: Annotated[Format, typer.Option("--format", help="YAML or JSON.")] = Format.YAML,
    rate_limits: Annotated[
        bool,
        typer.Option(
            "--rate-limits",
            help="Instead: what an envoyproxy/ratelimit that ASMGlobalRateLimiters name has to know of them, a YAML "
            "document for each of its domains.",
        ),
    ] = False,
) -> None:
    """Print the Envoy resources that proxies would be sent. Needs no server; private keys are redacted.

    What is wrong with the objects is told by `fairlead check`.
    """
    world, _ = load(paths)
    if rate_limits:
        _print_rate_limits(world)
        return
    proxies = chosen(world, proxy, namespace, labels)
    if not proxies:
        ERR.print("no Gateway selects a proxy", markup=False)
    documents = [_document(world, each, only) for each in proxies]
    if output is Format.JSON:
        print(json.dumps(documents, indent=2))
    else:
        print(yaml.safe_dump_all(documents, sort_keys=False, width=120), end="")


def _print_rate_limits(world: World) -> None:
    found = [domain for domain in domains(world) if domain.name != OWN_DOMAIN]
    if not found:
        ERR.print("no ASMGlobalRateLimiter names a rateLimitService", markup=False)
    print("---\n".join(map(rate_limit_configuration, found)), end="")


def _document(world: World, proxy: Proxy, only: ResourceType | None) -> dict[str, Any]:
    document: dict[str, Any] = {"proxy": name_of(proxy)}
    for resource in resources(world, proxy):
        name = types.SHORT_NAMES[resource.type_url]
        if only is None or name == only.value:
            document.setdefault(name, []).append(readable(resource))
    return document
