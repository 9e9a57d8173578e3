"""What is said about Istio's kinds, as tables: `tests/validation_istio/`, a file for each kind.

A table has a specification that is right, `base`, and rows that change it: `spec` at its root, `at` at the table's
`focus`; what is null is taken away. A row lists its problems as severity, code and path.
"""

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from fairlead.models.base import KubernetesObject
from fairlead.models.decode import decode
from fairlead.models.istio.virtual_service import VirtualService
from fairlead.problems import Problem, Severity, format_path
from fairlead.validation import istio, validate
from fairlead.validation.istio import checks
from hypothesis import given
from hypothesis import strategies as st

TABLES = Path(__file__).parent / "validation_istio"
MANIFESTS = Path(__file__).parent / "manifests"


def merge(value: Any, patch: Any) -> Any:
    """A value changed by a patch: maps are merged, all else is replaced, null takes away."""
    if not isinstance(value, dict) or not isinstance(patch, dict):
        return patch
    merged = value | {key: merge(value.get(key), change) for key, change in patch.items()}
    return {key: item for key, item in merged.items() if item is not None}


def rows() -> Iterator[Any]:
    for file in sorted(TABLES.glob("*.yaml")):
        table = yaml.safe_load(file.read_text())
        for row in table["rows"]:
            assert row.keys() <= {"case", "name", "spec", "at", "problems"}
            spec = copy.deepcopy(table["base"])
            if "at" in row:
                *parents, last = table["focus"]
                place = spec
                for key in parents:
                    place = place[key]
                place[last] = merge(place[last], row["at"])
            data = manifest(table["kind"], merge(spec, row.get("spec", {})), row.get("name", "a"))
            yield pytest.param(data, row.get("problems", []), id=f"{file.stem}-{row['case'].replace(' ', '-')}")


def manifest(kind: str, spec: Any, name: str = "a") -> dict[str, Any]:
    return {"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def read(data: dict[str, Any]) -> KubernetesObject:
    decoded = decode(data)
    assert decoded.problems == ()
    assert decoded.object is not None
    return decoded.object


def show(problem: Problem) -> str:
    return f"{problem.severity.value} {problem.code} {format_path(problem.path)}"


def body_row(size: int, problems: list[str]) -> Any:
    http = [{"directResponse": {"status": 200, "body": {"string": "a" * size}}}]
    data = manifest("VirtualService", {"hosts": ["a.example.com"], "http": http})
    return pytest.param(data, problems, id=f"http_route-body-of-{size}-bytes")


def long_row(kind: str, field: str, items: list[Any], spec: dict[str, Any]) -> Any:
    """A list that is longer than the API has it."""
    problems = [f"error too-many spec.{field}"]
    *parents, last = field.split(".")
    place = spec
    for parent in parents:
        place = place.setdefault(parent, {})
    place[last] = items
    return pytest.param(manifest(kind, spec), problems, id=f"{kind}-{len(items)}-{last}")


PORTS = [{"number": 80, "protocol": "HTTP", "name": "http"}]
ROWS = [
    *rows(),
    long_row("ServiceEntry", "hosts", [f"h{i}.example.com" for i in range(257)], {"ports": PORTS, "resolution": "DNS"}),
    long_row(
        "ServiceEntry",
        "endpoints",
        [{"address": "10.0.0.1"}] * 4097,
        {"hosts": ["a.example.com"], "ports": PORTS, "resolution": "STATIC"},
    ),
    long_row(
        "DestinationRule",
        "trafficPolicy.portLevelSettings",
        [{"port": {"number": i}, "tls": {"mode": "SIMPLE"}} for i in range(1, 4098)],
        {"host": "a"},
    ),
    body_row(100 * 1024, []),
    body_row(100 * 1024 + 1, ["warning large-body spec.http[0].directResponse.body"]),
    body_row(1024 * 1024 + 1, ["error invalid-value spec.http[0].directResponse.body"]),
]


@pytest.mark.parametrize(("data", "expected"), ROWS)
def test_rules(data: dict[str, Any], expected: list[str]) -> None:
    obj = read(data)
    problems = validate(obj)
    assert sorted(map(show, problems)) == sorted(expected)
    for problem in problems:
        assert problem.key == obj.key
        assert problem.message[:1] not in {"", " "}
        assert not problem.message.endswith(".")
        assert not problem.hint.endswith(".")


def test_every_code_is_in_a_table() -> None:
    """A rule that no row breaks is not tested."""
    folder = Path(istio.__file__).parent
    source = "\n".join(file.read_text() for file in folder.glob("*.py"))
    codes = set(re.findall(r'(?:error|warning)\(\s*"([a-z0-9-]+)"', source)) | set(
        re.findall(r'code = "([a-z0-9-]+)"', source)
    )
    tabled = {line.split()[1] for row in ROWS for line in row.values[1]}
    assert len(codes) > 40
    assert codes - tabled == set()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("002-05-DestinationRule", ["deprecated-field"]),
        ("004-04-ServiceEntry", []),
        ("004-05-DestinationRule", []),
    ],
)
def test_manifests_of_documentation(name: str, expected: list[str]) -> None:
    problems = validate(read(yaml.safe_load((MANIFESTS / f"{name}.yaml").read_text())))
    assert [problem.code for problem in problems] == expected
    assert all(problem.severity is Severity.WARNING for problem in problems)


def one(kind: str, spec: dict[str, Any]) -> Problem:
    (problem,) = validate(read(manifest(kind, spec)))
    return problem


def test_expression_is_refused_in_the_words_of_re2() -> None:
    http = [{"match": [{"uri": {"regex": "(a"}}], "route": [{"destination": {"host": "a"}}]}]
    problem = one("VirtualService", {"hosts": ["a.example.com"], "http": http})
    assert "missing ): (a" in problem.message


def test_old_outlier_detection_says_what_it_does() -> None:
    spec = {"host": "a", "trafficPolicy": {"outlierDetection": {"consecutiveErrors": 3}}}
    problem = one("DestinationRule", spec)
    assert problem.message == "consecutiveErrors is deprecated; it is treated as consecutive5xxErrors"
    assert problem.hint == "write consecutive5xxErrors: 3"


def test_next_prime_is_offered() -> None:
    policy = {"loadBalancer": {"consistentHash": {"useSourceIp": True, "maglev": {"tableSize": 65538}}}}
    assert one("DestinationRule", {"host": "a", "trafficPolicy": policy}).hint == "write 65539"


@pytest.mark.parametrize(
    ("pattern", "host", "expected"),
    [
        ("*", "a.example.com", True),
        ("*", "*", True),
        ("*.example.com", "a.example.com", True),
        ("*.example.com", "a.b.example.com", True),
        ("*.example.com", "*.b.example.com", True),
        ("*.example.com", "*.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.b.example.com", "*.example.com", False),
        ("a.example.com", "*.example.com", False),
        ("a.example.com", "a.example.com", True),
        ("*-a.example.com", "b-a.example.com", True),
        ("*-a.example.com", "*.example.com", False),
    ],
)
def test_hosts_cover_hosts(pattern: str, host: str, expected: bool) -> None:
    assert checks.host_covers(pattern, host) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("100us", "100us is less"),
        ("1500us", "1500us is no multiple"),
        ("1.000001s", "1000001us"),
        ("1ns", "1ns is less"),
    ],
)
def test_durations_are_shown_as_they_are_written(text: str, expected: str) -> None:
    http = [{"route": [{"destination": {"host": "a"}}], "timeout": text}]
    assert expected in one("VirtualService", {"hosts": ["a.example.com"], "http": http}).message


# --- Properties -------------------------------------------------------------------------------------------------------

LEAVES = st.sampled_from(
    ["", "*", "a b", "a/b", "%", "unix://", "@request.auth.claims", "0s", "-1s", 0, -1, 70000, True]
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    yield path
    for key, item in items:
        yield from places(item, (*path, key))


EVERY_FIELD = [yaml.safe_load(file.read_text()) for file in sorted(MANIFESTS.glob("every-field-*.yaml"))]
PLACES = [(number, path) for number, data in enumerate(EVERY_FIELD) for path in places(data["spec"], ("spec",))]


@given(st.sampled_from(PLACES), LEAVES)
def test_odd_values_are_judged_not_tripped_over(place: tuple[int, tuple[Any, ...]], leaf: Any) -> None:
    number, (*parents, last) = place
    data = copy.deepcopy(EVERY_FIELD[number])
    target = data
    for key in parents:
        target = target[key]
    target[last] = leaf
    obj = decode(data).object
    if obj is not None:
        assert isinstance(validate(obj), tuple)


PATHS = ["/", "/a", "/A", "/b", "/a/b", "/A/b", "/ab"]
URIS = st.one_of(
    st.none(),
    st.builds(lambda kind, path: {kind: path}, st.sampled_from(["exact", "prefix"]), st.sampled_from(PATHS)),
    st.just({"regex": "/[ab]"}),
)
MATCHES = st.builds(
    lambda uri, ignore, method: {
        **({"uri": uri} if uri else {}),
        **({"ignoreUriCase": True} if ignore else {}),
        **({"method": {"exact": method}} if method else {}),
    },
    URIS,
    st.booleans(),
    st.sampled_from(["", "GET", "PUT"]),
)


def matches(match: dict[str, Any], path: str, method: str) -> bool:
    uri = match.get("uri", {})
    if match.get("method", {"exact": method}) != {"exact": method}:
        return False
    if "regex" in uri:
        return re.fullmatch(uri["regex"], path) is not None
    fold = str.lower if match.get("ignoreUriCase") else str
    if "exact" in uri:
        return fold(path) == fold(uri["exact"])
    return fold(path).startswith(fold(uri.get("prefix", "")))


@given(st.lists(st.lists(MATCHES, max_size=2), min_size=2, max_size=4))
def test_what_is_called_unreachable_is_unreachable(routes: list[list[dict[str, Any]]]) -> None:
    http = [{"match": match, "route": [{"destination": {"host": "a"}}]} for match in routes]
    obj = read(manifest("VirtualService", {"hosts": ["a.example.com"], "http": http}))
    assert isinstance(obj, VirtualService)
    reported = {problem.path for problem in validate(obj) if problem.code.startswith("unreachable-")}
    for path in PATHS:
        for method in ("GET", "PUT"):
            taker = next(
                (
                    (index, number)
                    for index, conditions in enumerate(routes)
                    for number, match in enumerate(conditions or [{}])
                    if matches(match, path, method)
                ),
                None,
            )
            if taker is not None:
                route = ("spec", "http", taker[0])
                assert route not in reported
                assert (*route, "match", taker[1]) not in reported
