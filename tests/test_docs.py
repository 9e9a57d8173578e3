"""What README and docs/ say is true: options exist, YAML is accepted, links lead somewhere, codes are all listed."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml
from fairlead.check.catalogue import ENTRIES, SUBJECTS
from fairlead.cli.main import app
from fairlead.cli.offline import all_problems, load
from fairlead.problems import Severity
from support.stack import Stack
from typer.main import get_command

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "xds" / "fairlead"
PAGES = [
    *sorted((ROOT / "docs").rglob("*.md")),
    *(ROOT / name / "README.md" for name in (".", "bench", "envoy")),
    *sorted((ROOT / "examples").glob("**/README.md")),
    ROOT / "CONTRIBUTING.md",
]
IDS = [str(page.relative_to(ROOT)) for page in PAGES]
_REPORTING = {"error", "warning", "warn", "report", "Unreadable", "LeafError"}
"""Functions and classes whose first argument is a code."""
_CODE = re.compile(r"[a-z]+(-[a-z]+)*")


def blocks(page: Path) -> Iterator[str]:
    """The fenced blocks that hold objects."""
    for text in re.findall(r"^```yaml\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
        if re.search(r"^kind:", text, re.MULTILINE):
            yield text


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_objects_are_accepted(page: Path, tmp_path: Path) -> None:
    if page.parent.name == "problems":
        pytest.skip("its examples are faulty")
    for number, text in enumerate(blocks(page)):
        file = tmp_path / f"{number}.yaml"
        file.write_text(text)
        world, reading = load([file])
        errors = [problem for problem in all_problems(world, reading) if problem.severity is Severity.ERROR]
        # Pages show no private keys.
        assert [problem for problem in errors if problem.code != "missing-credential"] == [], text
        assert world.size() == len(list(yaml.safe_load_all(text)))


def test_there_are_objects_to_accept() -> None:
    assert sum(len(list(blocks(page))) for page in PAGES) >= 3


@pytest.mark.e2e
async def test_the_smallest_folder_answers(stack: Stack) -> None:
    (text,) = blocks(ROOT / "README.md")
    stack.write("hello.yaml", text)
    await stack.serve()
    await stack.envoy(labels={"app": "edge"})
    async with stack.client() as client:
        answer = await client.get("http://anything.example:8080/")
    assert (answer.status_code, answer.text) == (200, "hello\n")


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_commands_and_options_exist(page: Path) -> None:
    group = get_command(app)
    assert isinstance(group, click.Group) or hasattr(group, "commands")
    commands = {}
    for name, each in group.commands.items():  # type: ignore[union-attr]
        commands |= {f"{name} {part}": found for part, found in getattr(each, "commands", {}).items()} | {name: each}
    for command, rest in re.findall(r"\bfairlead ((?:pki )?[a-z]+)\b([^\n`|&]*)", _code(page.read_text())):
        assert command in commands, f"fairlead {command}"
        known = {name for parameter in commands[command].params for name in parameter.opts} | {"--help"}
        assert set(re.findall(r"(?<!\S)--[\w-]+", rest)) <= known, f"fairlead {command}{rest}"
    options = {name for each in commands.values() for parameter in each.params for name in parameter.opts}
    alone = set(re.findall(r"`(--[\w-]+)[^`]*`", page.read_text()))
    assert alone <= options | {"--help", "--version"}


def _code(text: str) -> str:
    """What is set as code: fenced blocks and `spans`."""
    fenced = re.findall(r"^```\w*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return "\n".join([*fenced, *re.findall(r"`([^`\n]+)`", text)])


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_make_targets_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?:^|`|; )(?:\w+=\S+ )?make ([a-z-]+)", _code(page.read_text()), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_readme_names_the_test_command_and_every_page() -> None:
    readme = (ROOT / "README.md").read_text()
    assert re.search(r"^make test\b", readme, re.MULTILINE)
    assert [page.name for page in (ROOT / "docs").glob("*.md") if f"(docs/{page.name})" not in readme] == []


# --- Codes of problems ------------------------------------------------------------------------------------------------


def sources() -> Iterator[tuple[Path, ast.AST]]:
    for path in PACKAGE.rglob("*.py"):
        if "_pb" not in path.relative_to(PACKAGE).parts:
            yield path, ast.parse(path.read_text())


def codes_of(argument: ast.expr) -> set[str]:
    if isinstance(argument, ast.IfExp):
        return codes_of(argument.body) | codes_of(argument.orelse)
    if isinstance(argument, ast.Constant) and isinstance(argument.value, str) and _CODE.fullmatch(argument.value):
        return {argument.value}
    return set()


def reported() -> set[str]:
    """The codes that calls in the package name."""
    found: set[str] = set()
    for _, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and node.args:
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                if name in _REPORTING:
                    found |= codes_of(node.args[0])
    return found


def test_every_code_is_in_the_catalogue() -> None:
    assert reported() - set(ENTRIES) == set(), "write an Entry, a file in tests/faulty, and run make golden"
    assert len(reported()) > 100


def test_no_code_is_in_the_catalogue_that_does_not_exist() -> None:
    texts = {
        node.value
        for path, tree in sources()
        if "catalogue" not in path.parts
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert set(ENTRIES) - texts == set()
    assert len(ENTRIES) == sum(len(subject.entries) for subject in SUBJECTS)
