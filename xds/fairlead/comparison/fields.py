"""Which fields of two JSON values differ. Items of lists are told apart by their names, where they have any."""

import json
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import Any

from fairlead.comparison.values import FieldChange


def field_changes(old: Any, new: Any, path: str = "") -> Iterator[FieldChange]:
    """The smallest parts that differ, in the order of the fields."""
    if old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for name in dict.fromkeys((*old, *new)):
            yield from field_changes(old.get(name), new.get(name), f"{path}.{name}" if path else name)
    elif isinstance(old, list) and isinstance(new, list):
        yield from _items(old, new, path)
    else:
        yield FieldChange(path, old, new)


def _items(old: Sequence[Any], new: Sequence[Any], path: str) -> Iterator[FieldChange]:
    names_of_old, names_of_new = _names(old), _names(new)
    if names_of_old is not None and names_of_new is not None:
        before, after = dict(zip(names_of_old, old, strict=True)), dict(zip(names_of_new, new, strict=True))
        for name in dict.fromkeys((*before, *after)):
            yield from field_changes(before.get(name), after.get(name), f"{path}[{name}]")
        common = [name for name in names_of_old if name in after]
        if common != (now := [name for name in names_of_new if name in before]):
            yield FieldChange(f"{path}: order", common, now)
        return
    texts = [[json.dumps(item, sort_keys=True) for item in items] for items in (old, new)]
    for operation, begin, end, start, stop in SequenceMatcher(a=texts[0], b=texts[1], autojunk=False).get_opcodes():
        if operation == "equal":
            continue
        common_length = min(end - begin, stop - start)
        for offset in range(common_length):
            yield from field_changes(old[begin + offset], new[start + offset], f"{path}[{start + offset}]")
        for index in range(begin + common_length, end):
            yield FieldChange(f"{path}[{index}]", old[index], None)
        for index in range(start + common_length, stop):
            yield FieldChange(f"{path}[{index}]", None, new[index])


def _names(items: Sequence[Any]) -> list[str] | None:
    """A name for each item, None when there is no way to tell them apart for sure."""
    names = [_name(item) for item in items]
    found = [name for name in names if name is not None]
    return found if len(set(found)) == len(items) else None


def _name(item: Any) -> str | None:
    if not isinstance(item, dict):
        return None
    if isinstance(item.get("name"), str):
        return str(item["name"])
    address = item.get("endpoint", {}).get("address", {})
    if address:
        socket = address.get("socket_address", {})
        return f"{socket.get('address', '')}:{socket.get('port_value', '')}" if socket else address["pipe"]["path"]
    if "lb_endpoints" in item or "locality" in item:
        place = item.get("locality", {})
        where = "/".join(place.get(part, "") for part in ("region", "zone", "sub_zone")).strip("/")
        return f"{where or 'no locality'}, priority {item.get('priority', 0)}"
    if isinstance(item.get("header"), dict):
        return str(item["header"].get("key"))
    return None
