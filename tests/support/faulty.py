"""The faulty inputs below `tests/faulty`: their certificates, and what of them the documentation shows."""

import json
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from fairlead.certificates.issuing import Issued, issue

FAULTY = Path(__file__).resolve().parent.parent / "faulty"
_START = datetime(2026, 1, 1, tzinfo=UTC)
_PLACEHOLDER = re.compile(
    r'"<(?P<first>certificate|key)s?(?: and (?P<second>certificate|key))? of (?P<hosts>[^">,]+)'
    r'(?:, valid from (?P<start>[0-9-]+))?(?:, valid until (?P<end>[0-9-]+))?(?:, then (?P<third>another))?>"'
)
_FILLER = re.compile(r'"<filler of ([0-9]+) characters>"')
_CODE = re.compile(r"(?:error|warning|info): ([a-z-]+)")


@cache
def _issued(hosts: str, start: str = "", end: str = "") -> Issued:
    first = datetime.fromisoformat(start).replace(tzinfo=UTC) if start else _START
    last = datetime.fromisoformat(end).replace(tzinfo=UTC) if end else first + timedelta(days=36_500)
    names = hosts.split(" and ")
    return issue(names[0], hosts=names, start=first, lifetime=last - first, organization="Faulty")


def filled(text: str) -> str:
    """The input with PEM where it says `"<certificate of a.example.com, valid until 2026-06-11>"` or `"<key of a>"`."""

    def pem(match: re.Match[str]) -> str:
        issued = _issued(match["hosts"], match["start"] or "", match["end"] or "")
        parts = {"certificate": issued.certificate_pem, "key": issued.key_pem.reveal()}
        parts["another"] = _issued("another.example.com").certificate_pem
        wanted = (match["first"], match["second"], match["third"])
        return json.dumps(b"".join(parts[name] for name in wanted if name).decode())

    return _FILLER.sub(lambda match: f'"{"x" * int(match[1])}"', _PLACEHOLDER.sub(pem, text))


def written(files: Sequence[Path], codes: Iterable[str]) -> dict[str, str]:
    """Code -> the input that shows it: the one that is called like it or, without one, the first that has it."""
    texts = {file.stem[4:]: file.read_text() for file in files}
    first: dict[str, str] = {}
    for text in texts.values():
        for code in _CODE.findall(text):
            first.setdefault(code, text)
    return {code: texts.get(code, first.get(code, "")) for code in codes}
