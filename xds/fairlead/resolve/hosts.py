"""Host names with wildcards: `*` is every name, `*.x` every name below `x`, `*.y.x` included."""

from collections.abc import Iterator, Set


def is_wildcard(host: str) -> bool:
    """Whether the host stands for more than one name."""
    return host.startswith("*")


def covers(pattern: str, host: str) -> bool:
    """Whether every name that `host` stands for is one that `pattern` stands for."""
    return pattern == host or (is_wildcard(pattern) and host.endswith(pattern[1:]))


def intersect(host: str, others: Set[str]) -> Iterator[str]:
    """The more specific of `host` and each of the others, where they have names in common; each name once.

    The cost depends on the labels of `host`, not on the number of others, unless `host` is a wildcard.
    """
    if any(pattern in others for pattern in _patterns_that_cover(host)):
        yield host
    if is_wildcard(host):
        for other in others:
            if other != host and covers(host, other):
                yield other


def _patterns_that_cover(host: str) -> Iterator[str]:
    yield host
    dot = host.find(".", 2 if is_wildcard(host) else 0)
    while dot >= 0:
        yield f"*{host[dot:]}"
        dot = host.find(".", dot + 1)
    yield "*"
