"""Which resources differ, and what of them; which connections that drains."""

import base64
from collections.abc import Iterable, Iterator
from typing import Any

from fairlead.certificates.reading import details_of
from fairlead.comparison.fields import field_changes
from fairlead.comparison.values import DrainedListener, FieldChange, ResourceChange
from fairlead.render.readable import readable
from fairlead.simulation.drains import drain
from fairlead.snapshot import types
from fairlead.snapshot.resource import Resource

_CERTIFICATE = ("tls_certificate", "certificate_chain")
_PRIVATE_KEY = "tls_certificate.private_key"


def resource_changes(old: Iterable[Resource], new: Iterable[Resource]) -> tuple[ResourceChange, ...]:
    """What differs, in the order of sending, by name."""
    before = {(found.type_url, found.name): found for found in old}
    after = {(found.type_url, found.name): found for found in new}
    order = {type_url: index for index, type_url in enumerate(types.SEND_ORDER)}
    keys = sorted(before.keys() | after.keys(), key=lambda key: (order[key[0]], key[1]))
    return tuple(
        _change(before.get(key), after.get(key))
        for key in keys
        if key not in before or key not in after or before[key].body != after[key].body
    )


def drains(old: Iterable[Resource], new: Iterable[Resource]) -> tuple[DrainedListener, ...]:
    """The listeners of which connections are drained, by name."""
    after = {found.name: found for found in new if found.type_url == types.LISTENER}
    found = []
    for resource in sorted((each for each in old if each.type_url == types.LISTENER), key=lambda each: each.name):
        drained = drain(resource, after.get(resource.name))
        if drained.whole or drained.why:
            found.append(DrainedListener(resource.name, drained.whole, drained.why))
    return tuple(found)


def _change(old: Resource | None, new: Resource | None) -> ResourceChange:
    resource = old or new
    assert resource is not None
    name = types.SHORT_NAMES[resource.type_url]
    if old is None:
        return ResourceChange("added", name, resource.name)
    if new is None:
        return ResourceChange("removed", name, resource.name)
    return ResourceChange("changed", name, resource.name, tuple(_fields(old, new)))


def _fields(old: Resource, new: Resource) -> Iterator[FieldChange]:
    found = list(field_changes(_shown(old), _shown(new)))
    yield from found
    if not found and old.type_url == types.SECRET:
        # All else is equal, and keys are not shown.
        yield FieldChange(_PRIVATE_KEY, "[redacted]", "[redacted], another one")


def _shown(resource: Resource) -> dict[str, Any]:
    found = readable(resource)
    if resource.type_url == types.SECRET:
        chain = found.get(_CERTIFICATE[0], {}).get(_CERTIFICATE[1], {})
        if "inline_bytes" in chain:
            details = details_of(base64.b64decode(chain["inline_bytes"]))
            words = f"{details.subject}, serial number {details.serial}, valid until {details.not_after:%Y-%m-%d %H:%M}"
            chain["inline_bytes"] = f"{words}, SHA-256 {details.fingerprint[:16]}..."
    return found
