"""docs/istio.md is what code and tests say: every field, whether it works, how, and which test shows it."""

import os
from pathlib import Path

import pytest
import yaml
from fairlead.models.decode import decode
from fairlead.problems import format_path
from fairlead.validation import validate
from fairlead.validation.istio.unsupported import UNSUPPORTED
from support import istio_page
from support.istio_page import Row

REFRESH = os.environ.get("FAIRLEAD_REFRESH_GOLDEN") == "1"
MANIFESTS = Path(__file__).parent / "manifests"

ROWS = [(kind, row) for kind, rows in istio_page.rows().items() for row in rows]


def test_golden_page() -> None:
    if REFRESH:
        istio_page.PAGE.write_text(istio_page.page())
    assert istio_page.PAGE.read_text() == istio_page.page(), "`make golden` writes it anew"


def test_markers_name_fields() -> None:
    wrong = [
        f"{marker.file.name}:{marker.line}: {name or 'not a constant'}"
        for marker in istio_page.markers()
        for name in marker.fields or ("",)
        if istio_page.resolve(name) is None
    ]
    assert wrong == []


def test_markers_are_found() -> None:
    assert istio_page.resolve("VirtualService.http[].timeout") == [
        ("VirtualService", "http[]"),
        ("VirtualService", "http[].timeout"),
    ]
    assert istio_page.resolve("VirtualService.http[].tiemout") is None
    assert istio_page.resolve("ServiceEntry.endpoints[].weight") == [
        ("ServiceEntry", "endpoints[]"),
        ("WorkloadEntry", "weight"),
    ], "fields of a message that several have are listed once"


def test_markers_may_name_several_fields() -> None:
    assert istio_page.expand("Gateway.servers[].port.number") == ["Gateway.servers[].port.number"]
    assert istio_page.expand("VirtualService.{tcp[],http[].{name, match[].headers{}}}.x") == [
        "VirtualService.tcp[].x",
        "VirtualService.http[].name.x",
        "VirtualService.http[].match[].headers{}.x",
    ]


def test_every_field_that_is_supported_has_a_test() -> None:
    untested = [
        f"{kind}.{row.path}" for kind, row in ROWS if row.unsupported is None and not istio_page.is_tested(kind, row)
    ]
    assert untested == [], "mark a test with istio_fields"


def test_no_field_that_is_not_supported_has_a_test_that_shows_it() -> None:
    assert [f"{kind}.{row.path}" for kind, row in ROWS if row.unsupported and istio_page.is_tested(kind, row)] == []


@pytest.mark.parametrize("row", [pytest.param(row, id=f"{kind}.{row.path}") for kind, row in ROWS])
def test_every_field_is_described(row: Row) -> None:
    assert row.unsupported or istio_page.how(row.field), "write a docstring below it in its model"


def test_every_field_that_is_not_supported_is_reported() -> None:
    told = set()
    for file in sorted(MANIFESTS.glob("every-field-*.yaml")):
        obj = decode(yaml.safe_load(file.read_text())).object
        assert obj is not None
        for problem in validate(obj):
            if problem.code == "unsupported-field":
                told.add(problem.message.partition(": ")[2])
                assert problem.path[0] == "spec", format_path(problem.path)
    assert {why.instead for why in UNSUPPORTED.values()} <= told
