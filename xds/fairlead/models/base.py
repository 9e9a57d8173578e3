"""What all kinds of objects have in common."""

from typing import ClassVar

import msgspec

from fairlead.problems import ObjectKey


class Model(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """Base of everything below an object: fields have the API's names in snake case, and its defaults.

    A field that is absent and one that is set to its default are the same, as in protobuf, unless its type allows
    None.
    """


class ObjectMeta(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The part of `metadata` that has a meaning here; the rest is dropped, so that a change of it changes nothing."""

    name: str
    namespace: str = ""
    """Filled in with `default` for namespaced kinds."""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    creation_timestamp: str | None = None
    """RFC 3339 in UTC, as Kubernetes writes it, so that its text sorts as its time does."""


class KubernetesObject(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True
):
    """Base of all kinds. `apiVersion`, `kind` and `status` are no fields: they are read before decoding."""

    group: ClassVar[str]
    """API group, empty for the core group."""
    kind: ClassVar[str]
    versions: ClassVar[tuple[str, ...]]
    """API versions that are read; all have the same fields."""
    namespaced: ClassVar[bool] = True

    metadata: ObjectMeta

    @property
    def key(self) -> ObjectKey:
        """Identity of the object."""
        return ObjectKey(self.group, self.kind, self.metadata.namespace, self.metadata.name)


class Duration(int):
    """A span of time in whole nanoseconds, written as protobuf and Go do: `1h`, `1m30s`, `250ms`, `1.5s`."""

    __slots__ = ()
