"""docs/problems.md and docs/problems/*.md: written from the catalogue, with the faulty inputs as examples."""

from collections.abc import Mapping
from pathlib import Path

from fairlead.check.catalogue import SUBJECTS, Entry, Subject

ROOT = Path(__file__).resolve().parent.parent.parent
INDEX = ROOT / "docs" / "problems.md"
FOLDER = ROOT / "docs" / "problems"
_REFRESH = "<!-- Written by `make golden` from xds/fairlead/check/catalogue and tests/faulty. -->"
_HEAD = f"""{_REFRESH}

# What problem codes mean

`fairlead check`, `fairlead status` and the server's log name each problem with a code, as in `error[invalid-regex]`.

- **error**: the object, or the part of it that the message names, is not served as written. If an earlier version of
  the object was accepted, that one keeps serving. All other objects are served.
- **warning**: it is served, but probably does not do what its author thinks.
- **info**: it is served as written, which is worth a thought; `fairlead check` shows these with `--notes` only.

Some codes come as either: the part that is left out decides. The message has the values at fault, and mostly a hint.

What you have looked at and want to keep, you can [suppress](operations.md#what-check-shall-not-tell): on the object, or
on the command line.
"""


def pages(examples: Mapping[str, str]) -> dict[Path, str]:
    """Page -> its text; `examples` are faulty inputs by code."""
    return {INDEX: _index()} | {FOLDER / f"{subject.page}.md": _page(subject, examples) for subject in SUBJECTS}


def _index() -> str:
    parts = [_HEAD]
    for subject in SUBJECTS:
        rows = (
            f"| [`{entry.code}`](problems/{subject.page}.md#{entry.code}) | {entry.meaning.replace('](../', '](')} |"
            for entry in subject.entries
        )
        parts.append("\n".join((f"## {subject.title}\n", "| code | meaning |", "|---|---|", *rows)) + "\n")
    parts.append(_of_istio())
    return "\n".join(parts)


def _of_istio() -> str:
    """For those who know the codes of `istioctl analyze`."""
    named: dict[str, list[str]] = {}
    for subject in SUBJECTS:
        for entry in subject.entries:
            for code in entry.istio:
                named.setdefault(code, []).append(f"[`{entry.code}`](problems/{subject.page}.md#{entry.code})")
    rows = (f"| {code} | {', '.join(named[code])} |" for code in sorted(named))
    head = ("## Codes of `istioctl analyze`\n", "| Istio | here |", "|---|---|")
    return "\n".join((*head, *rows)) + "\n"


def _page(subject: Subject, examples: Mapping[str, str]) -> str:
    parts = [
        f"{_REFRESH}\n\n# {subject.title}\n",
        "[All codes](../problems.md). Comments in the examples say what is told, and where.\n",
    ]
    parts += [_section(entry, examples.get(entry.code, "")) for entry in subject.entries]
    return "\n".join(parts)


def _section(entry: Entry, example: str) -> str:
    meaning = f"{entry.meaning[:1].upper()}{entry.meaning[1:]}"
    lines = [f"## {entry.code}", "", meaning if meaning.endswith(").") else f"{meaning}.", ""]
    if example:
        lines += ["```yaml", example.strip("\n"), "```", ""]
    lines += [f"**Why it matters**: {entry.why}", "", f"**What to do**: {entry.fix}"]
    if entry.istio:
        lines += ["", f"`istioctl analyze` calls it {' or '.join(entry.istio)}."]
    return "\n".join(lines) + "\n"
