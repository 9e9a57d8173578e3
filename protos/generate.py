"""Generates the Envoy API messages below `fairlead._pb`.

Runs as hatchling's build hook for the wheel, editable installs included (see pyproject.toml), and by hand where
`xds-protos` and `grpcio-tools` are installed: `python protos/generate.py`.

The descriptors come from the `xds-protos` release that pyproject.toml pins; `messages.txt` says which. They are not
registered in protobuf's default pool, because there they would clash with every other package that brings the same
files (`xds-protos` itself, `googleapis-common-protos`, `opentelemetry-proto`). Instead the generated modules import
each other below `fairlead._pb` and register in a pool of their own, the well-known types of `google.protobuf`
included: a pool resolves names only within itself.
"""

import hashlib
import importlib
import re
import shutil
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2

HERE = Path(__file__).resolve().parent
MESSAGES = HERE / "messages.txt"
PACKAGE = "fairlead._pb"
TARGET = HERE.parent / "xds" / "fairlead" / "_pb"
STAMP = TARGET / "stamp.txt"

PACKAGE_INIT = '''\
"""Envoy API messages, generated from the descriptors of xds-protos {xds_protos}; do not edit."""

from google.protobuf.descriptor_pool import DescriptorPool

POOL = DescriptorPool()
"""The pool of all messages below this package; `json_format` and `text_format` need it to look into an `Any`."""
'''

IMPORT = re.compile(r"^from (?P<package>\S+) import (?P<module>\w+_pb2)\b", re.MULTILINE)


def root_files() -> list[str]:
    """The .proto files that messages.txt lists."""
    lines = (line.partition("#")[0].strip() for line in MESSAGES.read_text().splitlines())
    return [line for line in lines if line]


def module_name(proto: str) -> str:
    """Name of the module that protoc generates for a .proto file."""
    return proto.removesuffix(".proto").replace("-", "_").replace("/", ".") + "_pb2"


def collect(roots: list[str]) -> dict[str, descriptor_pb2.FileDescriptorProto]:
    """The descriptors of `roots` and of all that they import, each after its imports."""
    found: dict[str, descriptor_pb2.FileDescriptorProto] = {}

    def add(proto: str) -> None:
        if proto in found:
            return
        descriptor = descriptor_pb2.FileDescriptorProto()
        importlib.import_module(module_name(proto)).DESCRIPTOR.CopyToProto(descriptor)
        for dependency in descriptor.dependency:
            add(dependency)
        found[proto] = descriptor

    for root in roots:
        add(root)
    return found


def reroot(source: str, modules: set[str]) -> str:
    """Moves the imports of generated `modules` in a .py or .pyi file below `PACKAGE`, and its registration too."""

    def replace(match: re.Match[str]) -> str:
        package, module = match.group("package", "module")
        return f"from {PACKAGE}.{package} import {module}" if f"{package}.{module}" in modules else match.group()

    source = IMPORT.sub(replace, source)
    source = source.replace(
        "from google.protobuf import descriptor_pool as _descriptor_pool\n", f"from {PACKAGE} import POOL as _POOL\n"
    )
    return source.replace("_descriptor_pool.Default()", "_POOL")


def run_protoc(files: dict[str, descriptor_pb2.FileDescriptorProto], folder: Path) -> None:
    """Runs protoc on descriptors, writing .py and .pyi files below `folder`; raises RuntimeError when it fails."""
    from grpc_tools import protoc

    descriptors = folder / "descriptors.bin"
    descriptors.write_bytes(descriptor_pb2.FileDescriptorSet(file=files.values()).SerializeToString())
    arguments = [f"--descriptor_set_in={descriptors}", f"--python_out={folder}", f"--pyi_out={folder}", *files]
    if protoc.main(["protoc", *arguments]) != 0:
        raise RuntimeError("protoc failed; its message is above")
    descriptors.unlink()


def fingerprint() -> str:
    """A hash of all that the generated code depends on."""
    digest = hashlib.sha256()
    for part in (MESSAGES.read_bytes(), Path(__file__).read_bytes()):
        digest.update(hashlib.sha256(part).digest())
    for package in ("xds-protos", "grpcio-tools"):
        digest.update(f"{package}=={version(package)}\n".encode())
    return digest.hexdigest()


def generate() -> bool:
    """Generates `TARGET` anew unless nothing has changed; says whether it did."""
    stamp = fingerprint()
    if STAMP.exists() and STAMP.read_text() == stamp:
        return False
    files = collect(root_files())
    modules = {module_name(proto) for proto in files}
    with tempfile.TemporaryDirectory(dir=TARGET.parent, prefix="_pb.") as temporary:
        folder = Path(temporary) / TARGET.name
        folder.mkdir()
        run_protoc(files, folder)
        for path in folder.rglob("*_pb2.py*"):
            path.write_text(reroot(path.read_text(), modules))
        for directory in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
            (directory / "__init__.py").touch()
        (folder / "__init__.py").write_text(PACKAGE_INIT.format(xds_protos=version("xds-protos")))
        (folder / STAMP.name).write_text(stamp)
        shutil.rmtree(TARGET, ignore_errors=True)
        folder.rename(TARGET)
    return True


try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run by hand, without hatchling
    pass
else:

    class GenerateMessages(BuildHookInterface[Any]):
        """Generates the messages before the wheel, or an editable install, is put together."""

        def initialize(self, version: str, build_data: dict[str, Any]) -> None:
            generate()


if __name__ == "__main__":
    print(f"{TARGET}: {'generated' if generate() else 'up to date'}", file=sys.stderr)
