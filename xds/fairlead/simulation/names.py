"""How host names match domains with wildcards."""


def domain_rank(pattern: str, name: str) -> int | None:
    """How specific a match is: exact first, then the longest wildcard; None for no match."""
    if pattern == name:
        return 1_000_000
    if pattern == "*":
        return 0
    if pattern.startswith("*") and name.endswith(pattern[1:]) and len(name) >= len(pattern):
        return 1_000 + len(pattern)
    if pattern.endswith("*") and name.startswith(pattern[:-1]) and len(name) >= len(pattern):
        return len(pattern)
    return None
