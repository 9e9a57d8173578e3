"""What is told of mistakes in a MeshConfig, and where: it is a text within an object."""

import pytest
from fairlead.models.documents import Locator
from fairlead.problems import Problem, Severity
from fairlead.resolve import mesh
from fairlead.validation import validate
from support.istio import all_problems, config_map
from support.worlds import objects, world

MESH_LINE = 5
"""Of `mesh: |` in the ConfigMap; the text begins in the next one."""


def told(text: str) -> set[Problem]:
    """What is wrong with a ConfigMap, and with the MeshConfig in it."""
    (obj,) = objects(text)
    return {*validate(obj), *all_problems(world(text))}


@pytest.mark.parametrize(
    ("mesh", "code", "line", "words"),
    [
        ("rootNamespace: config\nconnectTimeout: 5", "wrong-type", 2, "write 5s"),
        ("connectTimeout: 1us", "invalid-duration", 1, "less than"),
        ("\naccessLogFil: /log", "unknown-field", 2, "accessLogFil"),
        ("access_log_file: /log\naccessLogFormat: '%FOO%'", "unknown-command", 2, "%FOO%"),
        ("accessLogFormat: '100%'", "invalid-value", 1, "percent"),
        ("accessLogFormat: '%REQ%'", "invalid-value", 1, "needs a parameter"),
        ("accessLogEncoding: JSON\naccessLogFormat: '[]'", "invalid-value", 2, "JSON object"),
        ("accessLogEncoding: JSON\naccessLogFormat: '{\"a\": [\"%FOO%\"]}'", "unknown-command", 2, "%FOO%"),
        ("accessLogEncoding: XML", "invalid-value", 1, "XML"),
        ("rootNamespace: A_b", "invalid-name", 1, "A_b"),
        ("defaultConfig:\n  gatewayTopology:\n    numTrustedProxies: many", "wrong-type", 3, "a whole number"),
        ("defaultConfig:\n  gatewayTopology:\n    numTrustedProxies: 101", "invalid-value", 3, "at most 100"),
        ("defaultConfig:\n  concurrency: 2", "unsupported-field", 2, "bootstrap"),
        ("defaultConfig:\n  gatewayTopologie: {}", "unknown-field", 2, "gatewayTopology"),
        ("defaultConfig:\n  proxyHeaders:\n    server:\n      value: \"a\\0\"", "invalid-header", 4, "control"),
        ("numTrustedProxies: 2", "unknown-field", 1, "no effect"),
        ("defaultHttpRetryPolicy:\n  attempts: 2\n  retryOn: 5xy", "unknown-retry-condition", 3, "5xy"),
        ("localityLbSetting:\n  failover: [{from: a, to: a}]", "invalid-locality", 2, "itself"),
        ("tcpKeepalive: {time: 1500ms}", "invalid-duration", 1, "no multiple"),
        ("tlsDefaults:\n  cipherSuites:\n  - AES\n", "unknown-cipher-suite", 3, "AES"),
        ("defaultServiceExportTo: [a b]", "invalid-export", 1, "a b"),
        ("extensionProviders: [{name: zipkin}]", "unsupported-field", 1, "accessLogFile"),
        ("discoverySelectors:\n- matchExpressions: [{key: a, operator: Is}]", "invalid-value", 2, "DoesNotExist"),
        ("defaultConfig: {connectionSettings: {http2InitialStreamWindowSize: 1}}", "invalid-value", 1, "65535"),
        ("trustDomain: example.com", "unsupported-field", 1, "policy"),
        ("a: b\nc: {", "syntax", 3, ""),
        ("a: b\n  c: d", "syntax", 2, "indentation"),
        ("- a", "invalid-value", 0, "a mapping"),
        ("accessLogFile: /a\naccessLogFile: /b", "duplicate-key", 2, "accessLogFile"),
    ],
)  # fmt: skip
def test_a_mistake(mesh: str, code: str, line: int, words: str) -> None:
    text = config_map(mesh)
    (problem,) = told(text)
    assert (problem.code, str(problem.key)) == (code, "ConfigMap istio-system/istio")
    assert words in f"{problem.message} {problem.hint}"
    assert Locator(text.encode()).place(problem.path)[0] == MESH_LINE + line


@pytest.mark.parametrize("mesh", ["a: [", "- a", "a text"])
def test_what_cannot_be_read_is_set_aside_as_a_whole(mesh: str) -> None:
    """So that the last version goes on being served: it is the object that has the error."""
    (obj,) = objects(config_map(mesh))
    assert {problem.severity for problem in validate(obj)} == {Severity.ERROR}


@pytest.mark.parametrize("mesh", ["", "{}", "# nothing\n", "enableTracing: false", "defaultConfig: {tracing: null}"])
def test_nothing_is_told_of_nothing(mesh: str) -> None:
    assert told(config_map(mesh)) == set()


def test_networks() -> None:
    assert told(config_map("{}", meshNetworks="networks: {}")) == set()
    (problem,) = told(config_map("{}", meshNetworks="networks: {a: {}}"))
    assert (problem.code, problem.path) == ("unsupported-field", ("data", "meshNetworks"))


def test_the_mesh_config_of_a_revision_is_told_of() -> None:
    (problem,) = told(config_map("{}").replace("{name: istio,", "{name: istio-canary,"))
    assert (problem.code, problem.severity) == ("no-effect", Severity.WARNING)


@pytest.mark.parametrize("other", ["{name: istio, namespace: default}", "{name: other, namespace: istio-system}"])
def test_other_config_maps_are_none_of_its_business(other: str) -> None:
    text = config_map("connectTimeout: soon").replace("{name: istio, namespace: istio-system}", other)
    assert told(text) == set()
    assert mesh.connect_timeout(world(text.replace("soon", "3s"))) is None


# --- Places within texts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "path", "place"),
    [
        ("data:\n  mesh: |\n    a:\n      b: 1\n", ("a", "b"), (4, 10)),
        ("data:\n  mesh: |-\n\n    # a word\n    a: 1\n", ("a",), (5, 8)),
        ("data:\n  mesh: |2+ # more\n      a:\n       - b\n", ("a", 0), (4, 10)),
        ("{data: {mesh: 'a: 1'}}", ("a",), (1, 9)),
        ("data:\n  mesh: >\n    a: 1\n", ("a",), (2, 3)),
        ("data:\n  mesh: |\n    a: 1\n", ("nowhere",), (3, 5)),
        ("data:\n  mesh: |\n    a: 1\n    b: [\n", ("a",), (5, 1)),
    ],
)
def test_a_place_within_a_text(text: str, path: tuple[str | int, ...], place: tuple[int, int]) -> None:
    assert Locator(text.encode()).place(("data", "mesh", *path)) == place
