"""What differs for the services that proxies call while they serve requests: proxies are told nothing of it."""

import enum
from dataclasses import asdict
from typing import Any

from fairlead.comparison.fields import field_changes
from fairlead.comparison.values import ResourceChange
from fairlead.intent import RuntimeConfiguration, SchedulingPolicy

_TYPE = "runtime"
_DURATIONS = frozenset({"interval", "max_inflight", "max_idle", "queue_timeout", "deadline_margin"})
"""Fields of policies in nanoseconds."""


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
    for policy in configuration.scheduling:
        found[str(policy.origin)] = _in_words(policy)
    return found


def _in_words(policy: SchedulingPolicy) -> Any:
    """A policy as JSON, with durations such as `1.5s` and without what is not set."""

    def shown(name: str, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: shown(key, item) for key, item in value.items() if item not in (None, "", (), [])}
        if isinstance(value, list | tuple):
            return [shown("", item) for item in value]
        if isinstance(value, enum.Enum):
            return value.value
        return f"{value / 1e9:g}s" if name in _DURATIONS and value is not None else value

    return shown("", asdict(policy) | {"origin": str(policy.origin)})
