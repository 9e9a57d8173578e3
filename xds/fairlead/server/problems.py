"""What is wrong now, and what of it has been told: each problem is logged once when it appears, and once when solved.

Problems come from the source, from objects by themselves, and from what is made of them for the selections of proxies.
The latter two are indexes of derived values, of which only the changes are looked at. The same problem in the eyes of
several selections is one problem.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import structlog

from fairlead import diagnosis
from fairlead.check.formats import in_order
from fairlead.derive import Collection
from fairlead.holding import HELD, HeldProblems
from fairlead.problems import FieldPath, ObjectKey, Position, Problem, Severity
from fairlead.resolve.scope import Locality, Proxy, Selection
from fairlead.server.fleet import Fleet, expected, selection_problem_indexes

log = structlog.get_logger()

Locate = Callable[[ObjectKey, FieldPath], Position | None]
Judged = tuple[Selection, Locality]
"""Proxies in whose eyes something is wrong."""


class _Identity(NamedTuple):
    """What tells problems apart: not the line, for a line more at the top of a file makes no other problem."""

    problem: Problem
    """Without its position."""
    file: str
    """Of problems that come with a position."""

    @classmethod
    def of(cls, problem: Problem) -> "_Identity":
        return cls(problem, "") if problem.position is None else cls(problem.at(None), problem.position.file)


class _Watch:
    """A place in an index of problems."""

    def __init__(self, index: Collection[Problem, Any], due: "dict[_Watch, None]") -> None:
        """It puts itself into `due`, as it does when problems appear and when they are solved."""
        due[self] = None
        self.found: set[Problem] = set()
        self._index = index
        self._changes = index.changes(lambda: due.setdefault(self))

    def steps(self) -> Iterator[None]:
        return self._index.refresh_steps()

    def take(self) -> tuple[set[Problem], set[Problem]]:
        """The problems that have appeared, and those that are solved."""
        changed = self._changes.take()
        present = {problem for problem in changed if self._index.get(problem) is not None}
        appeared, solved = present - self.found, (changed - present) & self.found
        self.found -= solved
        self.found |= appeared
        return appeared, solved

    def close(self) -> None:
        self._changes.close()


class ProblemCounts(NamedTuple):
    """Numbers of problems."""

    present: Counter[tuple[Severity, str]]
    """Now, by severity and code."""
    appeared: Counter[tuple[Severity, str]]
    """Since the start, by severity and kind of the object at fault."""


class Problems:
    """All problems of a server."""

    def __init__(self, fleet: Fleet, locate: Locate, held: HeldProblems) -> None:
        """`locate` knows the places of the fields of objects; `held`: why virtual hosts are held."""
        self._fleet = fleet
        self._held = held
        self._locate = locate
        self._expected: dict[Proxy, Judged] = {}
        self._expected_changes = expected(fleet).changes()
        self._served: set[Judged] = set()
        self._judged: set[Judged] | None = None
        """Those whose indexes are watched; None when that has to be found out anew."""
        self._watches: dict[Collection[Problem, Any], _Watch] = {}
        self._due: dict[_Watch, None] = {}
        """Those with something to count."""
        self._of_source: tuple[Problem, ...] = ()
        self._placed: dict[_Identity, Problem] = {}
        """Those of the source."""
        self._counts: Counter[_Identity] = Counter()
        """How often each is found."""
        self._changed: set[_Identity] = set()
        """Those whose count has changed since they were told."""
        self._told: dict[_Identity, Problem] = {}
        """As they were told, with places."""
        self._appeared: Counter[tuple[Severity, str]] = Counter()

    def present(self) -> list[Problem]:
        """What is wrong now, with places, in the order of files."""
        derived = (identity.problem for identity in self._told if not identity.file)
        return in_order((*self._of_source, *map(self._place, derived)))

    def counts(self) -> ProblemCounts:
        """How many there are, and were."""
        present = Counter((problem.severity, problem.code) for problem in self._told.values())
        return ProblemCounts(present, self._appeared)

    # --- Finding ---

    def set_source(self, problems: tuple[Problem, ...]) -> None:
        """All problems that the source has now."""
        self._count(set(problems).difference(self._of_source), set(self._of_source).difference(problems))
        self._of_source = problems
        self._placed = {_Identity.of(problem): problem for problem in reversed(problems)}

    def set_served(self, served: set[Judged]) -> None:
        """The proxies in whose eyes something may be wrong, beside those that are expected."""
        self._served, self._judged = served, None

    def steps(self) -> Iterator[None]:
        """Find out what is wrong, in small steps between which the caller may do other things."""
        yield from expected(self._fleet).refresh_steps()
        for proxy in self._expected_changes.take():
            outcome = expected(self._fleet).get(proxy)
            self._judged = None
            if outcome is None:
                self._expected.pop(proxy, None)
            else:
                self._expected[proxy] = outcome.value, proxy.locality
        if self._judged is None:
            self._judge(self._served.union(self._expected.values()))
        yield from self._fleet.graph.settle_steps(urgent=False)
        for watch in list(self._due):
            try:
                yield from watch.steps()
                self._count(*watch.take())
                self._due.pop(watch, None)
            except Exception:
                log.exception("problems could not be determined; the last ones stay")

    def _judge(self, judged: set[Judged]) -> None:
        """Watch the indexes for these, and no others."""
        world = self._fleet.world
        indexes: list[Collection[Problem, Any]] = [self._held]
        indexes += [*diagnosis.review_indexes(world), *selection_problem_indexes(self._fleet)]
        indexes += [index for proxies in judged for index in diagnosis.problem_indexes(world, *proxies)]
        before, self._watches = self._watches, {}
        for index in indexes:  # equal ones are the same
            if index not in self._watches:
                self._watches[index] = before.pop(index) if index in before else _Watch(index, self._due)
        for watch in before.values():
            watch.close()
            self._due.pop(watch, None)
            self._count((), watch.found)
        self._judged = judged

    def _count(self, appeared: Iterable[Problem], solved: Iterable[Problem]) -> None:
        for change, problems in ((1, appeared), (-1, solved)):
            for problem in problems:
                identity = _Identity.of(problem)
                self._counts[identity] += change
                self._changed.add(identity)

    # --- Telling ---

    def tell(self) -> Iterator[None]:
        """Log what has appeared and what is solved, in small steps between which the caller may do other things."""
        changed, self._changed = self._changed, set()
        appeared = {}
        held = {(problem.key, problem.path) for problem in self._held.keys()}  # noqa: SIM118  # no dict
        for identity in changed:
            if self._counts[identity]:
                problem = identity.problem
                if problem.code != HELD and (problem.key, problem.path) in held:
                    self._changed.add(identity)  # one fault is told once: as what comes of it, as long as that lasts
                elif identity not in self._told:
                    appeared[self._place(self._placed.get(identity, identity.problem))] = identity
                    yield
                continue
            del self._counts[identity]
            told = self._told.pop(identity, None)
            if told is not None:
                log.info("solved", problem=told.message, **_fields(told))
                yield
        for problem in in_order(appeared):
            self._told[appeared[problem]] = problem
            self._appeared[problem.severity, problem.key.kind if problem.key else ""] += 1
            level = {Severity.ERROR: log.error, Severity.WARNING: log.warning}.get(problem.severity, log.info)
            level(problem.message, **_fields(problem), hint=problem.hint)
            yield

    def _place(self, problem: Problem) -> Problem:
        if problem.position is None and problem.key is not None:
            return problem.at(self._locate(problem.key, problem.path))
        return problem


def _fields(problem: Problem) -> dict[str, str]:
    return {"code": problem.code, "at": str(problem.position or ""), "object": str(problem.key or "")}
