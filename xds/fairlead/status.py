"""What an operator is told about a running server: who has what, who refused what, which objects are at fault.

Pure values; the server fills them, the admin endpoint sends them as JSON, `fairlead status` prints them. The JSON has
the names of the fields here. It is meant for scripts: fields may be added, none changes its meaning.
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypeVar

from fairlead.problems import ObjectKey, Position, Problem, format_path
from fairlead.protocol.events import SyncState

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_T = TypeVar("_T", bound="DataclassInstance")


def one_line(text: str) -> str:
    """The text with its control characters as escapes.

    What proxies and users write must not move the cursor of a terminal, nor look like a line of its own.
    """
    return text if text.isprintable() else "".join(map(_printable, text))


def _printable(character: str) -> str:
    return character if character.isprintable() else repr(character)[1:-1]


def with_places(keys: Iterable[ObjectKey], locate: Callable[[ObjectKey], Position | None]) -> list[str]:
    """`Kind namespace/name (file:line:column)` of each object; without a place where it is not known."""
    places = [(key, locate(key)) for key in keys]
    return [f"{key} ({position})" if position else str(key) for key, position in places]


@dataclass(frozen=True, slots=True)
class ProxyTypeStatus:
    """One type of resources at one proxy."""

    state: SyncState
    """`not sent`, `synced`, `stale`: something is under way, or `rejected`: it lacks what it has refused."""
    version: str = ""
    """Hash of the content that was acknowledged last."""
    error: str = ""
    """Why the proxy refused, in its own words; empty when it lacks nothing."""
    objects: tuple[str, ...] = ()
    """The objects that the refusal is about, `Kind namespace/name (file:line:column)`, as far as it is known."""
    refused: tuple[str, ...] = ()
    """The resources that the proxy refuses, `name`, or `name: item` where one virtual host or filter chain is at fault.

    It goes on with what it accepted last, or without them.
    """


@dataclass(frozen=True, slots=True)
class ProxyStatus:
    """One connected proxy."""

    id: str
    role: str
    namespace: str
    peer: str
    """Address that it connects from."""
    protocol: str
    """`delta` or `sotw`."""
    user_agent: str
    connected_seconds: float
    types: dict[str, ProxyTypeStatus]
    """`cds`, `eds`, `sds`, `ecds`, `lds`, `rds`, `vhds`, of which it has asked for something -> how far it is."""


@dataclass(frozen=True, slots=True)
class ProblemStatus:
    """One fault of an object."""

    severity: str
    """`error` or `warning`."""
    code: str
    object: str
    """`Kind namespace/name`, empty when it is not known."""
    file: str
    """Empty when the place is not known."""
    line: int
    column: int
    path: str
    """Of the field, such as `spec.http[0].timeout`."""
    message: str
    hint: str

    @classmethod
    def of(cls, problem: Problem) -> "ProblemStatus":
        """A problem, flattened."""
        position = problem.position
        return cls(
            severity=problem.severity.value,
            code=problem.code,
            object=str(problem.key) if problem.key else "",
            file=position.file if position else "",
            line=position.line if position else 0,
            column=position.column if position else 0,
            path=format_path(problem.path),
            message=problem.message,
            hint=problem.hint,
        )


@dataclass(frozen=True, slots=True)
class ReachStatus:
    """When proxies had acknowledged something, in milliseconds since it was noticed; None when none has."""

    acknowledged: int
    """Number of proxies."""
    first_ms: float | None
    median_ms: float | None
    last_ms: float | None


@dataclass(frozen=True, slots=True)
class ChangeStatus:
    """The last change of objects that proxies had to be told of. A proxy with several streams counts as several."""

    at: str
    """When the server noticed it: ISO 8601, UTC."""
    seconds_ago: float
    published_ms: float
    """From then until it was translated."""
    proxies: int
    """How many it concerned."""
    refused: int
    """How many of them have refused something of it."""
    waiting: int
    """How many have not answered all that they are sent."""
    waiting_for: tuple[str, ...]
    """The ids of ten of those, at most."""
    overall: ReachStatus
    """When proxies had acknowledged all of it."""
    types: dict[str, ReachStatus]
    """The same by type of resources, as far as the change is about them."""


@dataclass(frozen=True, slots=True)
class RuleStatus:
    """Where a limit or another rule for requests is in force."""

    object: str
    """`Kind namespace/name`."""
    path: str
    """Of the rule within the object, such as `spec.configs[0]`; `spec` of a scheduling policy."""
    selected: int
    """Number of the connected proxies that it is for, by their labels and namespace; of a scheduling policy, which
    names services, those where it is in force."""
    proxies: int
    """Number of those where it is in force for some route."""
    at: tuple[str, ...]
    """The ids of ten of these, at most."""
    reason: str
    """Why it is in force nowhere; empty when it is."""


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """Everything."""

    version: str
    synced: bool
    """All objects have been read once."""
    settled: bool
    """Besides, all changes that have been noticed are in what proxies are offered, and every proxy has answered."""
    objects: dict[str, int]
    """Kind -> number of accepted objects."""
    proxies: tuple[ProxyStatus, ...]
    problems: tuple[ProblemStatus, ...]
    last_change: ChangeStatus | None = None
    """None when there was no change yet."""
    rules: tuple[RuleStatus, ...] = ()
    """What ASM's objects say of requests; by object."""
    rate_limits: dict[str, str] = field(default_factory=dict)
    """ASMGlobalRateLimiter that names a service -> what an envoyproxy/ratelimit has to know of it, in YAML: what ASM
    has in the object's `status."config.yaml"`."""
    runtime_trouble: str = ""
    """Why the runtime services do not run though some object needs them; empty when all is well."""

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values, with the names of the fields."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "ServerStatus":
        """What `as_json` gave, be it of a newer release that tells more.

        Raises `KeyError`, `TypeError` or `ValueError` for anything else.
        """
        proxies = []
        for proxy in data["proxies"]:
            types = {
                name: _pick(
                    ProxyTypeStatus,
                    kind,
                    state=SyncState(kind["state"]),
                    objects=tuple(kind["objects"]),
                    refused=tuple(kind["refused"]),
                )
                for name, kind in proxy["types"].items()
            }
            proxies.append(_pick(ProxyStatus, proxy, types=types))
        problems = tuple(_pick(ProblemStatus, problem) for problem in data["problems"])
        change = data["last_change"]
        return _pick(
            cls,
            data,
            proxies=tuple(proxies),
            problems=problems,
            rules=tuple(_pick(RuleStatus, rule, at=tuple(rule["at"])) for rule in data["rules"]),
            last_change=None if change is None else _change(change),
        )


def _change(data: dict[str, Any]) -> ChangeStatus:
    return _pick(
        ChangeStatus,
        data,
        waiting_for=tuple(data["waiting_for"]),
        overall=_pick(ReachStatus, data["overall"]),
        types={name: _pick(ReachStatus, reach) for name, reach in data["types"].items()},
    )


def _pick(kind: type[_T], data: dict[str, Any], **converted: Any) -> _T:
    """A value of a dataclass from what it knows of `data`; `converted` stands for fields that are no JSON values."""
    given = {field.name: data[field.name] for field in fields(kind) if field.name not in converted}
    return kind(**given | converted)
