"""The problems of one object's data, as they are found."""

from collections.abc import Iterable, Mapping

from fairlead.problems import FieldPath, ObjectKey, Problem, Severity, error, warning


class Findings:
    """Collects problems of the object `key`, whose data are at `data_path`; a problem's `name` is a key of the data."""

    def __init__(self, key: ObjectKey, data_path: FieldPath) -> None:
        self._key = key
        self._data_path = data_path
        self._problems: list[Problem] = []

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What has been found so far."""
        return tuple(self._problems)

    def failed(self) -> bool:
        """Whether there is an error among the problems."""
        return any(problem.severity is Severity.ERROR for problem in self._problems)

    def error(self, code: str, name: str | None, message: str, hint: str) -> None:
        """Report a fault for which something is not served; None for `name` means the data as a whole."""
        path = self._data_path if name is None else (*self._data_path, name)
        self._problems.append(error(code, message, key=self._key, path=path, hint=hint))

    def warning(self, code: str, name: str, message: str, hint: str) -> None:
        """Report something that is served, but probably not as meant."""
        self._problems.append(warning(code, message, key=self._key, path=(*self._data_path, name), hint=hint))

    def missing(self, data: Mapping[str, bytes], names: Iterable[str], wanted: str) -> None:
        """Report that what `wanted` describes has no content; `names` are those that it is about."""
        empty = [name for name in names if data.get(name) == b""]
        for name in empty:
            self.error("empty-data-key", name, f"{name} is empty", f"Fill it: {wanted} is needed")
        if not empty:
            found = ", ".join(sorted(data)) or "nothing"
            self.error("missing-data-key", None, f"{wanted} is missing; found {found}", f"Add {wanted}")
