"""Worlds made of YAML, as users write it."""

from fairlead.models.base import KubernetesObject
from fairlead.models.decode import decode
from fairlead.models.documents import parse, split
from fairlead.world import World


def objects(text: str) -> list[KubernetesObject]:
    """The objects of a YAML text, which must be without fault."""
    found = []
    for document in split(text.encode()):
        parsed = parse(document.text)
        assert not parsed.problems
        for item in parsed.items:
            decoded = decode(item.data, item.problems)
            assert decoded.object is not None, decoded.problems
            found.append(decoded.object)
    return found


def world(*texts: str) -> World:
    """A world of the objects of YAML texts."""
    made = World()
    put(made, *texts)
    return made


def put(world: World, *texts: str) -> None:
    """Add the objects of YAML texts to a world, or replace those of the same name."""
    for text in texts:
        for obj in objects(text):
            world.put(obj)
