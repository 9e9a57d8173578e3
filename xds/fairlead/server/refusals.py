"""What clients have refused and therefore do not have, in words fit to be shown, and as problems of the objects."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from fairlead.problems import ObjectKey, Problem, error
from fairlead.protocol.containment import Contained
from fairlead.protocol.events import TypeStatus
from fairlead.snapshot.messages import ErrorDetail
from fairlead.snapshot.types import SHORT_NAMES

_LONGEST_ERROR = 2000
_PRIVATE_KEY = re.compile(r"-----BEGIN[^-]*PRIVATE KEY-----.*?(-----END[^-]*PRIVATE KEY-----|$)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Refusal:
    """What one client refuses of one type."""

    error: str
    """Why, in the client's words."""
    parts: tuple[str, ...]
    """The resources; `resource: item` where one item of it is at fault."""
    objects: tuple[ObjectKey, ...]
    """What they were made of."""

    @classmethod
    def of(cls, contained: Iterable[Contained]) -> "Refusal | None":
        """All of it; None if there is nothing."""
        contained = tuple(contained)
        if not contained:
            return None
        return cls(
            "; ".join(dict.fromkeys(in_words(each.error) for each in contained)),
            tuple(f"{each.resource}: {each.item}" if each.item else each.resource for each in contained),
            tuple(sorted({key for each in contained for key in each.origin})),
        )


def in_words(detail: ErrorDetail) -> str:
    """Why a client has refused something, fit to be shown: some clients quote what they refuse."""
    return _PRIVATE_KEY.sub("[private key]", detail.message)[:_LONGEST_ERROR]


def refusal_problems(statuses: Iterable[tuple[str, TypeStatus, str]]) -> list[Problem]:
    """A problem for each object that is refused, whoever shares it.

    `statuses`: name of the proxy, how it stands with a type, the type's URL.
    """
    proxies: dict[tuple[ObjectKey, str, str], list[str]] = {}
    for proxy, status, type_url in statuses:
        for each in status.contained:
            for key in each.origin:
                names = proxies.setdefault((key, SHORT_NAMES[type_url], in_words(each.error)), [])
                if proxy not in names:
                    names.append(proxy)
    return [
        error(
            "refused-by-proxy",
            f"{_who(names)} refused the {kind} resource that it was made into: {words}",
            key=key,
            hint="change the object, and it is offered again; until then the proxy goes on with what it accepted last",
        )
        for (key, kind, words), names in proxies.items()
    ]


def _who(names: list[str]) -> str:
    first = f"proxy {names[0]}" if names[0] else "a proxy without id"
    return first if len(names) == 1 else f"{first} and {len(names) - 1} more"
