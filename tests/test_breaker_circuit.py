"""When circuits open and close, to the request and the nanosecond: the breaker's C without Envoy."""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Callable
from ctypes import POINTER, Structure, c_bool, c_char_p, c_int, c_int64, c_size_t, c_void_p
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).parent / "support" / "breaker_host.c"
COMPILER = shutil.which("clang-14") or shutil.which("cc")
pytestmark = pytest.mark.skipif(
    COMPILER is None and "CI" not in os.environ, reason="there is no compiler for C: apt-get install clang-14"
)
MS = 1_000_000
WINDOW, BREAK = 1000 * MS, 500 * MS
CIRCUIT = b" circuit"


class Policy(Structure):
    """`policy_t` of envoy/breaker/policy.h."""

    _fields_ = [
        *((name, c_int64) for name in ("window", "break_time", "slow_time", "slow_requests", "average_time")),
        *((name, c_int64) for name in ("error_percent", "gateway_error_percent", "least_requests")),
        *(("circuit", c_char_p), ("circuit_size", c_size_t), ("opening", c_char_p), ("opening_size", c_size_t)),
        ("text", c_void_p),
    ]


class Request(Structure):
    """`request_t` of envoy/breaker/circuit.h."""

    _fields_ = [("began", c_int64), ("ended", c_int64), ("status", c_int)]


class Worker:
    """A worker thread of Envoy."""

    def __init__(self, library: Path, **policy: int) -> None:
        self._code = ctypes.CDLL(str(library))
        self._code.count.argtypes = [POINTER(Policy), Request]
        self._code.is_open.argtypes = [POINTER(Policy), c_int64]
        self._code.count.restype = self._code.is_open.restype = c_bool
        self._code.shared.restype = c_void_p
        self._code.share.argtypes = [c_void_p]
        settings: dict[str, Any] = {"window": WINDOW, "break_time": BREAK, **policy}
        names = CIRCUIT[1:], len(CIRCUIT) - 1, CIRCUIT, len(CIRCUIT)
        self._policy = Policy(**settings)
        self._policy.circuit, self._policy.circuit_size, self._policy.opening, self._policy.opening_size = names

    def sees_what(self, other: "Worker") -> None:
        self._code.share(other._code.shared())

    def count(self, ended: int, took: int = 0, status: int = 200) -> bool:
        """Count a request; says whether it has opened the circuit. Times are in nanoseconds."""
        return bool(self._code.count(self._policy, Request(ended - took, ended, status)))

    def is_open(self, at: int) -> bool:
        return bool(self._code.is_open(self._policy, at))


Workers = Callable[..., Worker]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("breaker") / "circuit.so"
    subprocess.run([COMPILER or "", "-std=gnu11", "-shared", "-fPIC", "-w", "-o", library, SOURCE], check=True)
    return library


@pytest.fixture
def worker(built: Path, tmp_path: Path) -> Workers:
    made: list[Worker] = []

    def make(**policy: int) -> Worker:
        own = tmp_path / f"{len(made)}.so"  # a library is loaded once by its name
        shutil.copy(built, own)
        made.append(Worker(own, **policy))
        if len(made) > 1:
            made[-1].sees_what(made[0])
        return made[-1]

    return make


T = 1_000_000 * WINDOW
"""Where a step of the window begins."""


def test_slow_is_what_takes_longer(worker: Workers) -> None:
    only = worker(slow_time=100 * MS, slow_requests=2)
    assert not only.count(T, 100 * MS)
    assert not only.count(T, 100 * MS)
    assert not only.count(T, 100 * MS + 1)
    assert only.count(T, 100 * MS + 1)


def test_it_is_open_for_its_time_and_then_all_is_forgotten(worker: Workers) -> None:
    only = worker(slow_time=100 * MS, slow_requests=2)
    assert [only.count(T, 200 * MS) for _ in range(2)] == [False, True]
    assert [only.is_open(T), only.is_open(T + BREAK - 1), only.is_open(T + BREAK)] == [True, True, False]
    closed = T + BREAK
    assert not only.count(closed + 200 * MS, 200 * MS + 1), "it began before the circuit closed"
    assert not only.count(closed + 200 * MS, 200 * MS)
    assert only.count(closed + 200 * MS, 200 * MS)


@pytest.mark.parametrize(("later", "opens"), [(0, True), (WINDOW - 1, True), (WINDOW, False)])
def test_the_window_slides(worker: Workers, later: int, opens: bool) -> None:
    """The first request ends where a step begins, and so is known as long as can be."""
    only = worker(slow_time=100 * MS, slow_requests=2)
    only.count(T, 200 * MS)
    assert only.count(T + later, 200 * MS) is opens


@pytest.mark.parametrize(("later", "opens"), [(WINDOW - WINDOW // 10, True), (WINDOW - WINDOW // 10 + 1, False)])
def test_the_window_slides_in_steps(worker: Workers, later: int, opens: bool) -> None:
    """The first request ends where a step does, and so is forgotten as soon as can be."""
    only = worker(slow_time=100 * MS, slow_requests=2)
    only.count(T - 1, 200 * MS)
    assert only.count(T - 1 + later, 200 * MS) is opens


@pytest.mark.parametrize(
    ("policy", "ends"),
    [
        ({"error_percent": 50, "least_requests": 4}, [(0, 200), (0, 500), (0, 499), (0, 599)]),
        ({"gateway_error_percent": 25, "least_requests": 4}, [(0, 501), (0, 505), (0, 500), (0, 504)]),
        ({"error_percent": 100}, [(0, 500)]),
        ({"average_time": 2 * MS, "least_requests": 2}, [(2 * MS, 200), (2 * MS, 200), (2 * MS + 3, 200)]),
    ],
)
def test_shares_are_reached_and_averages_exceeded(
    worker: Workers, policy: dict[str, int], ends: list[tuple[int, int]]
) -> None:
    only = worker(**policy)
    assert [only.count(T, took, status) for took, status in ends] == [False] * (len(ends) - 1) + [True]


def test_workers_open_it_together_and_once(worker: Workers) -> None:
    one, other = worker(slow_time=MS, slow_requests=4), worker(slow_time=MS, slow_requests=4)
    found = [each.count(T, 2 * MS) for each in (one, other, one, other, one, other)]
    assert found == [False, False, False, True, False, False]
    assert one.is_open(T)
    assert other.is_open(T)


def test_what_a_worker_has_not_told_is_forgotten_with_the_window(worker: Workers) -> None:
    only = worker(error_percent=100, least_requests=1)
    for number in range(5_003):
        only.count(T + number * 1000)
    assert only.count(T + 3 * WINDOW, status=500), "no other request is in the window"
