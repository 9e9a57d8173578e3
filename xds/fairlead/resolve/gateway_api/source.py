"""What is being read, and what was wrong with it."""

from dataclasses import dataclass, field

from fairlead.problems import FieldPath, ObjectKey, Problem, error, warning
from fairlead.world import World


@dataclass(frozen=True, slots=True)
class Source:
    """An object that is being translated."""

    world: World
    key: ObjectKey
    problems: list[Problem] = field(default_factory=list)

    def error(self, code: str, message: str, path: FieldPath, hint: str = "") -> None:
        """Tell that a field is not served as written."""
        self.problems.append(error(code, message, key=self.key, path=path, hint=hint))

    def warn(self, code: str, message: str, path: FieldPath, hint: str = "") -> None:
        """Tell that a field is served, but probably not as its author thinks."""
        self.problems.append(warning(code, message, key=self.key, path=path, hint=hint))
