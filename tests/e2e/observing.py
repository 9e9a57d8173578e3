"""Waiting for what a running installation does, and watching that traffic does not suffer from it."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from fairlead.playground.client import Load
from support.stack import ControlPlane, Stack, until


@contextlib.asynccontextmanager
async def steady(load: Load) -> AsyncIterator[Load]:
    """A load on one connection, of which no request may fail: before, while and after the block is carried out."""
    async with load:
        await goes_on(load)
        yield load
        await goes_on(load)
    assert load.failures == []
    assert load.connections == 1


async def goes_on(load: Load) -> None:
    """Wait for five more answers."""
    answered = load.answered
    await until(lambda: load.answered >= answered + 5 or load.failures, "requests are answered")


def running(stack: Stack) -> ControlPlane:
    assert stack.fairlead is not None
    return stack.fairlead


async def problems(stack: Stack) -> list[dict[str, Any]]:
    """What is wrong with objects, as `/status` tells."""
    found: list[dict[str, Any]] = (await running(stack).status())["problems"]
    return found


async def told(stack: Stack, *codes: str) -> None:
    """Wait until these faults and no others are told."""

    async def are_told() -> bool:
        return sorted(problem["code"] for problem in await problems(stack)) == sorted(codes)

    await until(are_told, f"the faults that are told are {codes}")


async def in_sync(stack: Stack) -> None:
    """Wait until there are proxies, and all have everything."""

    async def synced() -> bool:
        proxies = (await running(stack).status())["proxies"]
        return {kind["state"] for proxy in proxies for kind in proxy["types"].values()} == {"synced"}

    await until(synced, "all proxies are in sync")


async def noticed(stack: Stack) -> None:
    """Wait until all that has happened to files is seen, as one more Namespace is; proxies do not get those."""
    wanted = (await running(stack).status())["objects"].get("Namespace", 0) + 1
    stack.write(f"namespaces/{wanted}.yaml", f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: n{wanted}}}\n")

    async def seen() -> bool:
        return (await running(stack).status())["objects"].get("Namespace") == wanted

    await until(seen, "the newest file is seen")
