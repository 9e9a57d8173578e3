"""What differs for the services that proxies call while they serve requests: proxies are told nothing of it."""

from typing import Any

from fairlead.comparison.fields import field_changes
from fairlead.comparison.values import ResourceChange
from fairlead.intent import RuntimeConfiguration

_TYPE = "runtime"


def service_changes(old: RuntimeConfiguration, new: RuntimeConfiguration) -> tuple[ResourceChange, ...]:
    """The objects of which the services know something else, by name."""
    before, after = _by_object(old), _by_object(new)
    return tuple(
        _change(name, before.get(name), after.get(name))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    )


def _change(name: str, old: Any, new: Any) -> ResourceChange:
    if old is None or new is None:
        return ResourceChange("added" if old is None else "removed", _TYPE, name)
    return ResourceChange("changed", _TYPE, name, tuple(field_changes(old, new)))


def _by_object(configuration: RuntimeConfiguration) -> dict[str, Any]:
    """Object -> what the services know of it, as JSON."""
    found: dict[str, Any] = {}
    for domain in configuration.rate_limits:
        for descriptor in domain.descriptors:
            limits = found.setdefault(str(descriptor.origin), {}).setdefault("limits", [])
            name = "/".join(value or key for key, value in descriptor.entries)
            limits.append({"name": name, "quota": descriptor.quota, "window_seconds": descriptor.window})
    return found
