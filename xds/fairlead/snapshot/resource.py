"""A resource: encoded once, framed once, versioned by its content."""

from dataclasses import dataclass, field
from functools import cached_property

from fairlead.problems import ObjectKey
from fairlead.snapshot.wire import content_hash, delta_discovery_response_item, discovery_response_item


@dataclass(frozen=True, eq=False)
class Resource:
    """An Envoy resource as bytes. Two resources are equal when type, name and content are."""

    type_url: str
    name: str
    body: bytes = field(repr=False)
    """The encoded message, deterministically."""
    origin: tuple[ObjectKey, ...] = ()
    """The objects that it comes from, for messages about it."""

    @cached_property
    def version(self) -> str:
        """Hash of the content, so that all replicas give the same version, before and after a restart."""
        return content_hash(self.body)

    @cached_property
    def state_of_the_world_frame(self) -> bytes:
        """The resource as an item of `DiscoveryResponse.resources`."""
        return discovery_response_item(self.type_url, self.body)

    @cached_property
    def delta_frame(self) -> bytes:
        """The resource as an item of `DeltaDiscoveryResponse.resources`."""
        return delta_discovery_response_item(self.type_url, self.name, self.version, self.body)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Resource)
            and self.name == other.name
            and self.body == other.body
            and self.type_url == other.type_url
            and self.origin == other.origin
        )

    def __hash__(self) -> int:
        return hash((self.type_url, self.name, self.version))
