"""`make bench`: every benchmark, one table. See bench/README.md for how to read it."""

import asyncio
import subprocess
import time

from fairlead.playground.envoy import find_envoy

from bench import cold_start, propagation
from bench.measurements import machine, table

BENCHMARKS = (propagation.measure, cold_start.measure)
"""Coroutine functions that give series; each is one module, and takes about a minute at most."""


def _envoy_version() -> str:
    shown = subprocess.run([find_envoy(), "--version"], capture_output=True, check=True, text=True).stdout
    return shown.strip().split("/")[-4]  # PROGRAM version: COMMIT/VERSION/STATE/KIND/LIBRARY


def main() -> None:
    print(machine(_envoy_version()), flush=True)
    started = time.monotonic()
    series = [each for measure in BENCHMARKS for each in asyncio.run(measure())]
    print(f"\n{table(series)}\n\nmeasured in {time.monotonic() - started:.0f} s; no request failed beside the changes")


main()
