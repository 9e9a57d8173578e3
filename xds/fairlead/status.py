"""What an operator is told about a running server: who has what, who refused what, which objects are at fault.

Pure values; the server fills them, the admin endpoint sends them as JSON, `fairlead status` prints them.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

from fairlead.problems import Problem, format_path
from fairlead.protocol.events import SyncState


@dataclass(frozen=True, slots=True)
class ProxyTypeStatus:
    """One type of resources at one proxy."""

    state: SyncState
    version: str = ""
    """Hash of the content that was acknowledged last."""
    error: str = ""
    """Why the proxy refused, in its own words."""
    objects: tuple[str, ...] = ()
    """The objects that the refusal is about, `Kind namespace/name (file:line:column)`, as far as it names them."""


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
    types: dict[str, ProxyTypeStatus] = field(default_factory=dict)
    """`cds`, `eds`, `lds`, `rds`, `sds`, `vhds` -> how far it is."""


@dataclass(frozen=True, slots=True)
class ProblemStatus:
    """One fault of an object."""

    severity: str
    code: str
    object: str
    """`Kind namespace/name`, empty when it is not known."""
    file: str
    line: int
    column: int
    path: str
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
class ServerStatus:
    """Everything."""

    version: str
    synced: bool
    """All objects have been read once."""
    objects: dict[str, int]
    """Kind -> number of accepted objects."""
    proxies: tuple[ProxyStatus, ...]
    problems: tuple[ProblemStatus, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values, with the names of the fields."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "ServerStatus":
        """What `as_json` gave; raises `KeyError` or `TypeError` for anything else."""
        proxies = tuple(
            ProxyStatus(
                **{
                    **proxy,
                    "types": {
                        name: ProxyTypeStatus(
                            SyncState(kind["state"]), kind["version"], kind["error"], tuple(kind["objects"])
                        )
                        for name, kind in proxy["types"].items()
                    },
                }
            )
            for proxy in data["proxies"]
        )
        problems = tuple(ProblemStatus(**problem) for problem in data["problems"])
        return cls(data["version"], data["synced"], data["objects"], proxies, problems)
