"""Where the translation of a VirtualService stands: what is being read, for whom, and what was wrong with it."""

from dataclasses import dataclass, field
from typing import NamedTuple

from fairlead.problems import FieldPath, ObjectKey, Problem, error, warning
from fairlead.resolve.istio.references import MESH
from fairlead.resolve.scope import Labels, Viewer
from fairlead.world import ObjectName, World

MESH_GATEWAY = ObjectName("", MESH)
"""What stands for the mesh among the Gateways of a place: the sidecars."""


class Place(NamedTuple):
    """Where the routes of a VirtualService are served: all that they can depend on, apart from the world."""

    viewer: Viewer
    """The proxies as those who call services."""
    labels: Labels
    """Of the proxies, as far as routes ask for them."""
    gateways: tuple[ObjectName, ...]
    """The Gateways through which the VirtualService is bound there; for sidecars `MESH_GATEWAY`."""
    ports: tuple[int, ...]
    """Declared ports of the servers; the first stands in where a port must be guessed."""
    tls: bool
    """Requests arrive by TLS."""

    @property
    def namespace(self) -> str:
        """Of the proxies."""
        return self.viewer.namespace


@dataclass(frozen=True, slots=True)
class Source:
    """A VirtualService that is being translated for a place."""

    world: World
    place: Place
    key: ObjectKey
    problems: list[Problem] = field(default_factory=list)

    @property
    def namespace(self) -> str:
        """Of the VirtualService: short host names are short for names there."""
        return self.key.namespace

    def of(self, key: ObjectKey) -> "Source":
        """The same place, another VirtualService; problems are collected together."""
        return Source(self.world, self.place, key, self.problems)

    def error(self, code: str, message: str, path: FieldPath, hint: str = "") -> None:
        """Tell that a field is not served as written."""
        self.problems.append(error(code, message, key=self.key, path=path, hint=hint))

    def warn(self, code: str, message: str, path: FieldPath, hint: str = "") -> None:
        """Tell that a field is served, but probably not as its author thinks."""
        self.problems.append(warning(code, message, key=self.key, path=path, hint=hint))
