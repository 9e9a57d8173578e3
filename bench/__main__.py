"""`make bench`: every benchmark, one table. See bench/README.md for how to read it."""

import subprocess
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import uvloop
from fairlead.playground.envoy import find_envoy

from bench import breakers, cold_start, fan_out, propagation, runtime
from bench.measurements import Row, machine, table

BENCHMARKS: Sequence[Callable[[], Coroutine[Any, Any, Sequence[Row]]]] = (
    propagation.measure,
    fan_out.measure,
    cold_start.measure,
    runtime.measure,
    breakers.measure,
)
"""Coroutine functions that give rows; each is a module about one subject, and takes about a minute."""


def _envoy_version() -> str:
    shown = subprocess.run([find_envoy(), "--version"], capture_output=True, check=True, text=True).stdout
    return shown.strip().split("/")[-4]  # PROGRAM version: COMMIT/VERSION/STATE/KIND/LIBRARY


def main() -> None:
    print(machine(_envoy_version()), flush=True)
    started = time.monotonic()
    rows = [row for measure in BENCHMARKS for row in uvloop.run(measure())]
    print(f"\n{table(rows)}\n\nmeasured in {time.monotonic() - started:.0f} s; no request failed beside the changes")


main()
