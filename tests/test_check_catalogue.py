"""Every faulty input is told of where it is faulty, and nothing else is; the documentation says what the code does.

Beside them, below `tests/faulty/sound`, is what comes near a fault and is none.

An input is a small file of its own below `tests/faulty`. What is to be found stands at the line where it is to be
found, as `# error: code`, `# warning: code` or `# info: code`; several are separated by commas. Other places that are
shown with it have a line that ends in `# see`.
"""

import json
import os
import re
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fairlead.check.catalogue import ENTRIES, SUBJECTS
from fairlead.check.findings import findings
from fairlead.check.sarif import as_sarif
from fairlead.check.suppression import Suppression, parse, unsuppressed
from fairlead.cli.offline import all_problems, load
from fairlead.problems import Problem
from jsonschema import Draft7Validator
from support.faulty import FAULTY, filled, written
from support.problem_pages import FOLDER, INDEX, pages
from support.sarif import SCHEMA

REFRESH = os.environ.get("FAIRLEAD_REFRESH_GOLDEN") == "1"
FILES = sorted(FAULTY.glob("*.yaml"))
NOW = datetime(2026, 6, 1, tzinfo=UTC)
_EXPECTED = re.compile(r"# ((?:error|warning|info): .*?)(?: # see)?$", re.MULTILINE)
Found = tuple[int, str, str]
"""Line, severity, code."""


def expected(text: str) -> Counter[Found]:
    found: Counter[Found] = Counter()
    for number, line in enumerate(text.splitlines(), 1):
        for marks in _EXPECTED.findall(line):
            for mark in marks.split(", "):
                severity, _, code = mark.partition(": ")
                found[number, severity, code] += 1
        if line.endswith("# see"):
            found[number, "see", ""] += 1
    return found


def problems(text: str, folder: Path) -> list[Problem]:
    file = folder / "faulty.yaml"
    file.write_text(filled(text))
    world, reading = load([file])
    return all_problems(world, reading, now=NOW, soon=timedelta(days=30))


def found(text: str, folder: Path) -> Counter[Found]:
    told = problems(text, folder)
    lines: Counter[Found] = Counter(
        (problem.position.line if problem.position else 0, problem.severity.value, problem.code) for problem in told
    )
    others = {(other.position.line if other.position else 0) for problem in told for other in problem.related}
    return lines + Counter((line, "see", "") for line in others)


@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_faults_are_found_where_they_are_and_nothing_else(file: Path, tmp_path: Path) -> None:
    text = file.read_text()
    assert found(text, tmp_path) == expected(text)


SOUND = sorted((FAULTY / "sound").glob("*.yaml"))


@pytest.mark.parametrize("file", SOUND, ids=[file.stem for file in SOUND])
def test_what_is_nearly_faulty_is_not_told(file: Path, tmp_path: Path) -> None:
    assert [str(problem) for problem in problems(file.read_text(), tmp_path)] == []


def test_every_input_is_about_something_of_its_own() -> None:
    assert len(FILES) >= 60
    codes = [tuple(sorted(code for _, _, code in expected(file.read_text()))) for file in FILES]
    assert all(codes)
    assert {code for each in codes for code in each if code} <= set(ENTRIES)
    assert all(re.fullmatch(r"\d\d\d-[a-z0-9-]+", file.stem) for file in FILES)
    assert len({file.stem[:3] for file in FILES}) == len(FILES)


_OF_NO_INPUT = """
    file-too-large internal no-such-path not-watched state-damaged state-unusable unreadable-file
    held no-workload-address refused-by-proxy
    ca-without-crl certificate-without-name crl-without-ca encrypted-private-key must-staple not-a-ca revocation-expired
    revocation-not-yet-valid staple-mismatch staple-not-good staple-without-end trailing-data unreadable-crl
    unsupported-key unsupported-key-usage unusable-staple
"""
"""Codes of what is wrong with files themselves, with a server or proxies, and inside certificates and revocation lists
(test_certificates.py)."""


def test_every_other_code_has_an_input() -> None:
    examples = written(FILES, ENTRIES)
    assert sorted(code for code in ENTRIES if not examples[code]) == sorted(_OF_NO_INPUT.split())


# --- Suppression ------------------------------------------------------------------------------------------------------

_DOUBTFUL = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop, annotations: {ANNOTATION: "CODES"}}
spec: {hosts: [shop.example.com], gateways: [gone], http: [{match: [{uri: {}}], redirect: {uri: /, port: 70000}}]}
"""


@pytest.mark.parametrize(
    ("annotation", "codes", "left"),
    [
        ("fairlead.dev/other", "*", ["empty-match", "unknown-gateway"]),
        ("fairlead.dev/suppress", "empty-match", ["unknown-gateway"]),
        ("fairlead.dev/suppress", "empty-match, unknown-gateway", []),
        ("fairlead.dev/suppress", "IST0101", ["empty-match"]),
        ("fairlead.dev/suppress", "*", []),
        ("galley.istio.io/analyze-suppress", "IST0101", ["empty-match"]),
        ("galley.istio.io/analyze-suppress", "IST0108", ["empty-match", "unknown-gateway"]),
        ("fairlead.dev/suppress", "emty-match", ["empty-match", "unknown-gateway", "unknown-suppression"]),
    ],
)
def test_annotations_suppress_codes_of_their_object(
    annotation: str, codes: str, left: list[str], tmp_path: Path
) -> None:
    text = _DOUBTFUL.replace("ANNOTATION", annotation).replace("CODES", codes).replace(", port: 70000", "")
    assert sorted(problem.code for problem in kept(text, tmp_path)) == left


@pytest.mark.parametrize(
    ("rule", "left"),
    [
        ("empty-match", ["unknown-gateway"]),
        ("IST0101", ["empty-match"]),
        ("*", []),
        ("empty-match=VirtualService/default/shop", ["unknown-gateway"]),
        ("empty-match=VirtualService/*", ["unknown-gateway"]),
        ("empty-match=VirtualService/team/*", ["empty-match", "unknown-gateway"]),
        ("empty-match=Gateway/default/shop", ["empty-match", "unknown-gateway"]),
    ],
)
def test_rules_suppress_codes_of_objects(rule: str, left: list[str], tmp_path: Path) -> None:
    text = _DOUBTFUL.replace(", port: 70000", "")
    assert sorted(problem.code for problem in kept(text, tmp_path, parse(rule))) == left


def test_an_object_that_is_not_accepted_is_suppressed_by_rules_only(tmp_path: Path) -> None:
    text = _DOUBTFUL.replace("ANNOTATION", "fairlead.dev/suppress").replace("CODES", "*")
    assert "invalid-port" in {problem.code for problem in kept(text, tmp_path)}
    assert kept(text, tmp_path, parse("*=VirtualService/default/shop")) == []


def test_a_rule_for_a_code_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="no problem code 'emty-match'"):
        parse("emty-match=VirtualService/*")


def kept(text: str, folder: Path, *rules: Suppression) -> list[Problem]:
    file = folder / "doubtful.yaml"
    file.write_text(text)
    world, reading = load([file])
    return unsuppressed(world, all_problems(world, reading, now=NOW), rules)


# --- Scale ------------------------------------------------------------------------------------------------------------

_EDGE = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: http}
spec:
  selector: {app: edge}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: v1
kind: Secret
metadata: {name: wild}
stringData: {tls.crt: "<certificate of *.example.com>", tls.key: "<key of *.example.com>"}
"""
_TENANT = """---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: g%}
spec:
  selector: {app: edge}
  servers:
  - port: {number: 443, name: https, protocol: HTTPS}
    tls: {mode: SIMPLE, credentialName: wild}
    hosts: [h%.example.com]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v%}
spec:
  hosts: [shared.example.com, h%.example.com]
  gateways: [http, g%]
  http: [{match: [{uri: {prefix: /%/}}], route: [{destination: {host: s%}}]}]
---
apiVersion: v1
kind: Service
metadata: {name: s%}
spec: {ports: [{port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: s%}
spec: {host: s%, subsets: [{name: v1, labels: {version: v1}}]}
"""


def calls(tenants: int, folder: Path) -> int:
    """How many functions are called to find what is wrong for so many tenants."""
    text = _EDGE + "".join(_TENANT.replace("%", str(1000 + number)) for number in range(tenants))
    file = folder / f"{tenants}.yaml"
    file.write_text(filled(text))
    world, _ = load([file])
    count = 0

    def counting(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(counting)
    try:
        found = findings(world, NOW)
    finally:
        sys.setprofile(None)
    assert sum(problem.code == "connection-reuse" for problem in found) == tenants
    return count


def test_the_work_grows_as_the_objects_do(tmp_path: Path) -> None:
    """With one certificate for all, and one host for all, each could be compared with all others."""
    calls(5, tmp_path)  # what is made once
    assert calls(160, tmp_path) < 2.15 * calls(80, tmp_path)


# --- Code review ------------------------------------------------------------------------------------------------------


def test_all_that_can_be_found_is_valid_sarif(tmp_path: Path) -> None:
    found: list[Problem] = []
    for file in FILES:
        target = tmp_path / f"{file.stem} 100%.yaml"
        target.write_text(filled(file.read_text()))
        found += all_problems(*load([target]), now=NOW)
    log = json.loads(as_sarif(found, "1.0"))
    Draft7Validator(SCHEMA).validate(log)
    (run,) = log["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert [(rules[result["ruleIndex"]]) for result in run["results"]] == [problem.code for problem in found]
    assert any("relatedLocations" in result for result in run["results"])


def test_a_result_is_recognised_when_its_line_has_moved(tmp_path: Path) -> None:
    file = tmp_path / "doubtful.yaml"
    prints = []
    for head in ("", "# A comment.\n"):
        file.write_text(head + _DOUBTFUL)
        results = json.loads(as_sarif(all_problems(*load([file]), now=NOW), "1.0"))["runs"][0]["results"]
        prints.append([result["partialFingerprints"] for result in results])
    assert prints[0] == prints[1]
    assert len(prints[0]) == len({json.dumps(each) for each in prints[0]}) > 1


# --- Documentation ----------------------------------------------------------------------------------------------------


def test_golden_pages() -> None:
    wanted = pages(written(FILES, list(ENTRIES)))
    if REFRESH:
        FOLDER.mkdir(exist_ok=True)
        for page, text in wanted.items():
            page.write_text(text)
    assert {page: page.read_text() for page in (INDEX, *FOLDER.glob("*.md"))} == wanted


def test_entries_are_whole() -> None:
    for subject in SUBJECTS:
        codes = [entry.code for entry in subject.entries]
        assert codes == sorted(set(codes))
    for entry in ENTRIES.values():
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", entry.code)
        assert entry.meaning
        assert not entry.meaning.endswith(".")
        assert entry.why.endswith(".")
        assert entry.fix.endswith(".")
        assert all(re.fullmatch(r"IST0\d\d\d", code) for code in entry.istio)
