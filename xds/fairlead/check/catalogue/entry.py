"""What is known of a problem code."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """One code."""

    code: str
    meaning: str
    """What is wrong: half a sentence, without a full stop."""
    why: str
    """What comes of it: one sentence."""
    fix: str
    """What to do: one sentence."""
    istio: tuple[str, ...] = ()
    """The codes of `istioctl analyze` for the same, where there are any
    (istio.io/latest/docs/reference/config/analysis)."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What one page of the documentation is about."""

    page: str
    """Its file's name without suffix."""
    title: str
    entries: tuple[Entry, ...]
