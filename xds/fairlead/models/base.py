"""What all kinds of objects have in common."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

import msgspec

from fairlead.problems import ObjectKey


class Model(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """Base of everything below an object: fields have the API's names in snake case, and its defaults.

    A field that is absent and one that is set to its default are the same, as in protobuf, unless its type allows
    None. A null of the document counts as absent. An enumeration's value is the name that YAML has.
    """

    aliases: ClassVar[Mapping[str, str]] = {}
    """Further names that are read, and the API's name of the field that each stands for."""
    ignored: ClassVar[frozenset[str]] = frozenset()
    """Fields of the API that have no meaning for a proxy: dropped without a word, unlike unknown ones."""
    unsupported: ClassVar[Mapping[str, str]] = {}
    """Fields of the API that are known and not acted upon, which is told: name -> what to do instead, or nothing."""


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
    """Base of all kinds. `apiVersion` and `kind` are no fields; `status` is one only where a kind declares it."""

    group: ClassVar[str]
    """API group, empty for the core group."""
    kind: ClassVar[str]
    versions: ClassVar[tuple[str, ...]]
    """API versions that are read; all have the same fields."""
    namespaced: ClassVar[bool] = True
    aliases: ClassVar[Mapping[str, str]] = {}
    ignored: ClassVar[frozenset[str]] = frozenset()

    metadata: ObjectMeta

    @property
    def key(self) -> ObjectKey:
        """Identity of the object."""
        return ObjectKey(self.group, self.kind, self.metadata.namespace, self.metadata.name)


class Duration(int):
    """A span of time in whole nanoseconds, written as protobuf and Go do: `1h`, `1m30s`, `250ms`, `1.5s`."""

    __slots__ = ()


class Pem(bytes):
    """PEM text, written as it is or in base64. Its repr does not show it, since it may be a private key."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Pem({len(self)} bytes)"

    __str__ = __repr__


PortNumber = Annotated[int, msgspec.Meta(ge=1, le=65535)]
"""A port as Kubernetes' schemas bound it."""


def json_name(name: str) -> str:
    """The API's name of a field written in snake case: protobuf's rule, `retry_on` is `retryOn`."""
    first, *rest = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)
