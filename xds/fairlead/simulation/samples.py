"""Texts that match regular expressions, the shortest that are easily found."""

import string

import re2

_CHARACTERS = string.ascii_lowercase + string.digits + string.ascii_uppercase + "/-_.~ " + string.punctuation

_QUIET = re2.Options()
_QUIET.log_errors = False


def sample(pattern: str) -> str | None:
    """A text that the whole of which RE2 matches; None when none is found, as with assertions within the pattern."""
    try:
        found = _Reader(pattern).alternatives()
        return found if _matches(pattern, found) else None
    except (IndexError, ValueError, re2.error):
        return None


def _matches(pattern: str, text: str) -> bool:
    return re2.compile(pattern, _QUIET).fullmatch(text) is not None


class _Reader:
    """Reads a pattern from the left to the right, and writes the least that matches."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0

    def alternatives(self) -> str:
        """The first of several alternatives, up to the end of a group."""
        found = self._sequence()
        while self._next() == "|":
            self._at += 1
            self._sequence()
        return found

    def _next(self) -> str:
        return self._pattern[self._at : self._at + 1]

    def _take(self) -> str:
        self._at += 1
        return self._pattern[self._at - 1]

    def _sequence(self) -> str:
        found = ""
        while self._next() not in {"", "|", ")"}:
            atom = self._atom()
            found += atom * self._least()
        return found

    def _atom(self) -> str:
        character = self._take()
        match character:
            case "^" | "$":
                return ""
            case ".":
                return "x"
            case "(":
                return self._group()
            case "[":
                return self._one_of("[" + self._class())
            case "\\":
                escaped = self._take()
                return self._one_of("\\" + escaped) if escaped.isalnum() else escaped
        return character

    def _group(self) -> str:
        if self._next() == "?":
            start = self._at
            while self._next() not in {":", ">", ")"}:
                self._at += 1
            if self._take() == ")":
                return ""  # flags alone
            if self._pattern[start : start + 2] not in {"?:", "?P"} and not self._pattern[start + 1].isalpha():
                raise ValueError(self._pattern)
        found = self.alternatives()
        if self._take() != ")":
            raise ValueError(self._pattern)
        return found

    def _class(self) -> str:
        start = self._at
        while self._next() != "]" or self._pattern[start : self._at] in {"", "^"}:
            self._at += 2 if self._next() == "\\" else 1
            if self._at >= len(self._pattern):
                raise ValueError(self._pattern)
        self._at += 1
        return self._pattern[start : self._at]

    def _one_of(self, characters: str) -> str:
        return next((found for found in _CHARACTERS if _matches(characters, found)), "")

    def _least(self) -> int:
        """How often at least, by the quantifier that stands here."""
        least = 1
        match self._next():
            case "*" | "?":
                self._at, least = self._at + 1, 0
            case "+":
                self._at += 1
            case "{":
                end = self._pattern.index("}", self._at)
                least = int(self._pattern[self._at + 1 : end].partition(",")[0] or 0)
                self._at = end + 1
            case _:
                return 1
        if self._next() == "?":
            self._at += 1
        return least
