"""Decoding: both ways lead to equal objects, and every fault is told with its place."""

import re
from collections.abc import Iterator, Mapping
from textwrap import dedent
from typing import Any, ClassVar

import pytest
from fairlead.models import documents, registry
from fairlead.models.base import KubernetesObject, ObjectMeta
from fairlead.models.core import Service
from fairlead.models.decode import Decoded, decode
from fairlead.models.registry import KINDS
from fairlead.problems import Severity, format_path
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import inspect
from support import kinds

NAMES_OF_KEYS = {"unknown-field", "duplicate-key"}

OTHER_CORE_KINDS = [
    "Binding",
    "ComponentStatus",
    "Event",
    "LimitRange",
    "Node",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "PodTemplate",
    "ReplicationController",
    "ResourceQuota",
    "ServiceAccount",
]

every_kind = pytest.mark.parametrize("model", KINDS, ids=lambda kind: f"{kind.group}.{kind.kind}")
quick = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.sampled_from(["metadata", "spec", "name", "namespace", "http", "ports", "data"]), inner)
    ),
)


def read(text: str) -> Decoded:
    (item,) = documents.parse(dedent(text).encode()).items
    return decode(item.data, item.problems)


def told(text: str) -> str:
    """All problems of a document: place, severity, code and path of each, and below it the sentence and the hint."""
    raw = dedent(text).encode()
    lines = []
    for item in documents.parse(raw).items:
        for problem in decode(item.data, item.problems).problems:
            line, column = documents.locate(raw, item.root + problem.path, key=problem.code in NAMES_OF_KEYS)
            where = f"{line}:{column} {problem.severity.value}[{problem.code}] {format_path(problem.path)}"
            lines += [where.rstrip(), f"    {problem.message}"]
            if problem.hint:
                lines.append(f"    {problem.hint}")
    return "".join(f"{line}\n" for line in lines)


# --- Properties -------------------------------------------------------------------------------------------------------


@every_kind
@quick
@given(data=st.data())
def test_all_spellings_of_an_object_decode_to_the_same(model: type[KubernetesObject], data: st.DataObject) -> None:
    document = data.draw(kinds.documents(model))
    other = dict(document)
    for field in kinds.fields(model):
        if field.encode_name in document and field.encode_name != "metadata":
            other[field.encode_name] = data.draw(kinds.spellings(field.type, document[field.encode_name]))

    decoded = decode(document)
    assert decoded.problems == ()
    assert isinstance(decoded.object, model)
    assert decode(other) == decoded


@every_kind
@quick
@given(data=st.data())
def test_unknown_fields_are_told_and_change_nothing(model: type[KubernetesObject], data: st.DataObject) -> None:
    document = data.draw(kinds.documents(model))
    expected = decode(document).object
    models = [()] + [
        place.path
        for place in kinds.places(model, document)
        if isinstance(place.type, inspect.StructType) and place.type.forbid_unknown_fields
    ]
    chosen = data.draw(st.sets(st.sampled_from(models), min_size=1, max_size=4))
    for path in chosen:
        at(document, path)["no-field-has-this-name"] = data.draw(st.sampled_from([None, 5, {"a": []}]))

    decoded = decode(document)
    assert decoded.object == expected
    assert {problem.path for problem in decoded.problems} == {(*path, "no-field-has-this-name") for path in chosen}
    assert {(problem.code, problem.severity) for problem in decoded.problems} == {("unknown-field", Severity.WARNING)}


@every_kind
@quick
@given(data=st.data())
def test_every_fault_is_told_with_its_path(model: type[KubernetesObject], data: st.DataObject) -> None:
    document = data.draw(kinds.documents(model))
    places = list(kinds.places(model, document))
    if not places:
        return
    chosen = data.draw(st.sets(st.sampled_from(range(len(places))), min_size=1, max_size=5))
    faults = {places[index].path: places[index].type for index in chosen}
    # What is below a faulty value is gone, so only the outermost can be told.
    outermost = {path for path in faults if not any(path[:end] in faults for end in range(len(path)))}
    for path in outermost:
        wrong = "no list" if isinstance(faults[path], (inspect.VarTupleType, inspect.ListType)) else ["no such value"]
        at(document, path[:-1])[path[-1]] = wrong

    decoded = decode(document)
    assert decoded.object is None
    assert decoded.key is not None
    assert decoded.key.name == document["metadata"]["name"]
    errors = {problem.path for problem in decoded.problems if problem.severity is Severity.ERROR}
    assert errors == outermost


@quick
@given(anything)
def test_no_data_whatsoever_raises(data: Any) -> None:
    body = data if isinstance(data, dict) else {"spec": data, "metadata": data}
    for model in KINDS:
        version = "/".join(filter(None, (model.group, model.versions[0])))
        decoded = decode({**body, "apiVersion": version, "kind": model.kind})
        assert (decoded.object is None) == any(problem.severity is Severity.ERROR for problem in decoded.problems)


def at(data: Any, path: tuple[str | int, ...]) -> Any:
    for part in path:
        data = data[part]
    return data


# --- What is said -----------------------------------------------------------------------------------------------------


def test_every_fault_of_an_object_is_told() -> None:
    assert told(
        """\
        apiVersion: networking.istio.io/v1
        kind: VirtualService
        metadata:
          name: Shop
          labels: {tier: 1, canary: yes}
        hosts: [a]
        spec:
          host: shop.example.com
          gateways: public
          http:
          - match:
            - uri: /shop
              timeout: 5s
              ignoreUriCase: "true"
            route:
            - destination:
                host: shop
                port: 80
              weight: "10"
            - destinations: {}
            retries: {attempts: 1.5, per_try_timeout: 3, retryOn: null}
            timeout: "5"
          - redirect: {derivePort: from_request_port, redirectCode: -1}
        """
    ) == dedent(
        """\
        4:9 error[invalid-name] metadata.name
            'Shop' is no name of an object
            use lower-case letters, digits, - and .
        5:18 error[wrong-type] metadata.labels.tier
            a text is expected, not a number
            put it in quotes
        5:29 error[wrong-type] metadata.labels.canary
            a text is expected, not true
            put it in quotes
        6:1 warning[unknown-field] hosts
            'hosts' is no field of the object; it has no effect
            it is a field of spec: check the indentation
        8:3 warning[unknown-field] spec.host
            'host' is no field of spec; it has no effect
            did you mean hosts?
        9:13 error[wrong-type] spec.gateways
            a list is expected, not a text
            write a list, with - before each of its elements
        12:12 error[wrong-type] spec.http[0].match[0].uri
            a mapping is expected, not a text
            its fields are exact, prefix, regex
        13:7 warning[unknown-field] spec.http[0].match[0].timeout
            'timeout' is no field of spec.http[0].match[0]; it has no effect
            it is a field of spec.http[0]: check the indentation
        14:22 error[wrong-type] spec.http[0].match[0].ignoreUriCase
            true or false is expected, not a text
            remove the quotes
        18:15 error[wrong-type] spec.http[0].route[0].destination.port
            a mapping is expected, not a number
            its field is number
        20:7 warning[unknown-field] spec.http[0].route[1].destinations
            'destinations' is no field of spec.http[0].route[1]; it has no effect
            did you mean destination?
        20:7 error[missing-field] spec.http[0].route[1].destination
            destination is missing
        21:25 error[wrong-type] spec.http[0].retries.attempts
            a whole number is expected, not 1.5
        21:47 error[wrong-type] spec.http[0].retries.per_try_timeout
            a duration such as 5s is expected, not the number 3
            write 3s, or 3ms
        22:14 error[invalid-value] spec.http[0].timeout
            '5' is no duration
            write 5s, or 5ms
        23:28 error[invalid-value] spec.http[1].redirect.derivePort
            'from_request_port' is no value of this field; it has to be FROM_PROTOCOL_DEFAULT or FROM_REQUEST_PORT
            write FROM_REQUEST_PORT
        23:61 error[out-of-range] spec.http[1].redirect.redirectCode
            -1 is out of range: it has to be >= 0
        """
    )


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("1h2m3s4ms", None),
        ("1.5s", None),
        (".5s", None),
        ("0", "wrong-type"),  # a number
        ("'0'", None),
        ("0s", None),
        ("1500", "wrong-type"),
        ("-5s", "out-of-range"),
        ("300y", "invalid-value"),
        ("9999999h", "out-of-range"),
        ("5 s", "invalid-value"),
        ("''", "invalid-value"),
        ("[5s]", "wrong-type"),
    ],
)
def test_durations(value: str, problem: str | None) -> None:
    decoded = read(
        f"""\
        apiVersion: gateway.networking.k8s.io/v1
        kind: HTTPRoute
        metadata: {{name: a}}
        spec: {{rules: [{{timeouts: {{request: {value}}}}}]}}
        """
    )
    assert [found.code for found in decoded.problems] == ([problem] if problem else [])


@pytest.mark.parametrize(
    ("type_of_object", "expected"),
    [
        ("apiVersion: apps/v1\nkind: Deployment", ""),
        *((f"apiVersion: v1\nkind: {kind}", "") for kind in OTHER_CORE_KINDS),
        (
            "apiVersion: gateway.networking.k8s.io/v1\nkind: GRPCRoute",
            """\
            2:7 warning[unsupported-kind] kind
                GRPCRoute of gateway.networking.k8s.io is not supported yet; the object is not served
            """,
        ),
        (
            "apiVersion: networking.istio.io/v1\nkind: Virtualservice",
            """\
            2:7 warning[unsupported-kind] kind
                Virtualservice is no kind of networking.istio.io that is read; the object is not served
                did you mean VirtualService?
            """,
        ),
        (
            "apiVersion: networking.istio.oi/v1\nkind: VirtualService",
            """\
            1:13 warning[unsupported-kind] apiVersion
                VirtualService is no kind of networking.istio.oi; the object is not served
                did you mean networking.istio.io/v1?
            """,
        ),
        (
            "apiVersion: v1\nkind: Gateway",
            """\
            1:13 warning[unsupported-kind] apiVersion
                Gateway is no kind of the core group; the object is not served
                did you mean networking.istio.io/v1 or gateway.networking.k8s.io/v1?
            """,
        ),
        (
            "apiVersion: v1\nkind: service",
            """\
            2:7 warning[unsupported-kind] kind
                service is no kind that is read; the object is not served
                did you mean Service?
            """,
        ),
        (
            "apiVersion: networking.istio.io/v1\nkind: WorkloadGroup\nmetadata: {name: a}",
            """\
            2:7 warning[unsupported-kind] kind
                WorkloadGroup of networking.istio.io is not supported yet; the object is not served
                write a WorkloadEntry for each workload, and outlierDetection in place of its probe
            """,
        ),
        (
            "apiVersion: install.istio.io/v1alpha1\nkind: IstioOperator\nmetadata: {name: a}",
            """\
            2:7 warning[unsupported-kind] kind
                IstioOperator of install.istio.io is not supported yet; the object is not served
                write its meshConfig into the ConfigMap istio of the namespace istio-system, under the key mesh
            """,
        ),
        (
            "apiVersion: networking.istio.io/v2\nkind: Sidecar\nmetadata: {name: a}\nspec: {}",
            """\
            1:13 error[unsupported-version] apiVersion
                v2 is no version of Sidecar that is read; v1, v1beta1, v1alpha3 are
            """,
        ),
        (
            "kind: Gateway",
            """\
            1:1 error[missing-field] apiVersion
                apiVersion is missing
            """,
        ),
        (
            "apiVersion: 1\nkind: Service",
            """\
            1:13 error[wrong-type] apiVersion
                a text is expected, not a number
            """,
        ),
        (
            "a: 1",
            """\
            1:1 warning[not-an-object]
                this is no object, it has no apiVersion and no kind; it is not used
            """,
        ),
    ],
)
def test_kinds_and_versions_that_are_not_read(type_of_object: str, expected: str) -> None:
    assert told(type_of_object) == dedent(expected)


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ("{}", "3:1 error[missing-field] metadata.name"),
        ("", "3:10 error[missing-field] metadata"),
        ("[a]", "3:11 error[wrong-type] metadata"),
        ("{name: 7}", "3:18 error[wrong-type] metadata.name"),
        ("{name: a/b}", "3:18 error[invalid-name] metadata.name"),
        ("{name: a, namespace: A_}", "3:32 error[invalid-name] metadata.namespace"),
        ("{name: a, namespace: ''}", None),
        ("{name: a, namespace: 0}", "3:32 error[wrong-type] metadata.namespace"),
        ("{name: a, namespace: 1}", "3:32 error[wrong-type] metadata.namespace"),
        ("{name: a, labels: {x: 1}}", "3:33 error[wrong-type] metadata.labels.x"),
        ("{name: a, annotations: {x.y/z: null}}", '3:42 error[wrong-type] metadata.annotations["x.y/z"]'),
        ("{name: a, creationTimestamp: 2024-01-01}", "3:40 error[invalid-value] metadata.creationTimestamp"),
        ("{name: a, uid: x, managedFields: [], creationTimestamp: null}", None),
    ],
)
def test_metadata(metadata: str, expected: str | None) -> None:
    lines = told(f"apiVersion: v1\nkind: ConfigMap\nmetadata: {metadata}\n").splitlines()
    assert [line for line in lines if not line.startswith(" ")] == ([expected] if expected else [])


def test_metadata_keeps_what_has_a_meaning() -> None:
    decoded = read(
        """\
        apiVersion: v1
        kind: ConfigMap
        metadata:
          name: a.b
          labels: null
          annotations:
            kept: "yes"
            kubectl.kubernetes.io/last-applied-configuration: '{}'
          creationTimestamp: 2024-01-01T00:00:00Z
          resourceVersion: "7"
        """
    )
    assert decoded.object is not None
    metadata = decoded.object.metadata
    assert (metadata.namespace, metadata.labels, metadata.annotations) == ("default", {}, {"kept": "yes"})
    assert metadata.creation_timestamp == "2024-01-01T00:00:00Z"


def test_kinds_without_namespace_have_none() -> None:
    decoded = read("apiVersion: v1\nkind: Namespace\nmetadata: {name: a, namespace: b}")
    assert decoded.key == ("", "Namespace", "", "a")


def test_a_duplicate_key_keeps_an_object_from_being_accepted_and_other_faults_are_told_beside_it() -> None:
    assert told(
        """\
        apiVersion: v1
        kind: Service
        metadata: {name: a}
        spec:
          ports: [{port: 80}]
          ports: [{port: 0}]
          type: clusterip
        """
    ) == dedent(
        """\
        6:3 error[duplicate-key] spec.ports
            'ports' is given more than once
        7:9 error[invalid-value] spec.type
            'clusterip' is no value of this field; it has to be ClusterIP, NodePort, LoadBalancer or ExternalName
            write ClusterIP
        """
    )


def test_the_same_field_in_both_spellings_is_a_duplicate() -> None:
    assert told(
        """\
        apiVersion: v1
        kind: Service
        metadata: {name: a}
        spec:
          externalName: a
          external_name: b
        """
    ) == dedent(
        """\
        6:3 error[duplicate-key] spec.external_name
            'external_name' is the same field as 'externalName'
        """
    )


def test_fields_without_meaning_for_proxies_are_dropped_and_typos_are_not() -> None:
    decoded = read(
        """\
        apiVersion: v1
        kind: Service
        metadata: {name: a}
        spec:
          clusterIPs: [10.0.0.1]
          sessionAffinity: None
          sessionAfinity: None
          ports: [{port: 80, targetPort: http}, {port: 81, targetPort: 8081}]
        status: {loadBalancer: {}}
        """
    )
    assert isinstance(decoded.object, Service)
    assert [port.target_port for port in decoded.object.spec.ports] == ["http", 8081]
    assert [problem.path for problem in decoded.problems] == [("spec", "sessionAfinity")]


def test_secret_values_are_in_no_message() -> None:
    for value in ("hunter2hunter2!", "[hunter2]", "{hunter2: hunter2}", "123456789", "-----BEGIN hunter2"):
        for field in ("data", "stringData"):
            for kind in (f"{field}: {{password: {value}}}", f"{field}: {value}"):
                text = f"apiVersion: v1\nkind: Secret\nmetadata: {{name: a}}\n{kind}"
                assert not {"hunter2", "123456789"} & set(re.findall(r"\w+", told(text))), text
    credential = "apiVersion: istio.alibabacloud.com/v1\nkind: ASMCredential\nmetadata: {name: a}\nspec: {key: hunter2}"
    assert "hunter2" not in told(credential)
    assert "PEM text is expected, as it is or in base64" in told(credential)


class Example(KubernetesObject, frozen=True, kw_only=True):
    group: ClassVar[str] = "example.com"
    kind: ClassVar[str] = "Example"
    versions: ClassVar[tuple[str, ...]] = ("v1",)
    aliases: ClassVar[Mapping[str, str]] = {"statName": "metric"}

    metric: str = ""


def test_aliases_are_read_as_the_field_that_they_stand_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "model", lambda _group, _kind: Example)
    head = "apiVersion: example.com/v1\nkind: Example\nmetadata: {name: a}\n"
    decoded = read(f"{head}statName: a")
    assert decoded.object == Example(metadata=ObjectMeta(name="a", namespace="default"), metric="a")
    assert decoded.problems == ()
    assert "'metric' is the same field as 'statName'" in told(f"{head}statName: a\nmetric: b")


def test_models_keep_the_conventions_that_decoding_relies_on() -> None:
    assert len({(kind.group, kind.kind) for kind in KINDS}) == len(KINDS)
    for kind in KINDS:
        assert registry.model(kind.group, kind.kind) is kind
        assert registry.unsupported(kind.group, kind.kind + "s") is not None
        pending, seen = [kind], set[type]()
        while pending:
            cls = pending.pop()
            if cls in seen:
                continue
            seen.add(cls)
            assert cls.__struct_config__.frozen, cls
            for field in kinds.fields(cls):
                optional = isinstance(field.type, inspect.UnionType) and field.type.includes_none
                # null is the same as absent, so the default of a field that allows None has to be None.
                assert field.required or (field.default is None) == optional, (cls, field.name)
                pending += [place.cls for place in parts(field.type) if isinstance(place, inspect.StructType)]
                for place in parts(field.type):
                    if isinstance(place, inspect.EnumType):
                        assert all(isinstance(member.value, str) for member in place.cls), place.cls


def parts(info: inspect.Type) -> Iterator[inspect.Type]:
    """A type and those that it is made of, short of the fields of structs."""
    yield info
    match info:
        case inspect.UnionType(types=types):
            inner = types
        case inspect.VarTupleType(item_type=item):
            inner = (item,)
        case inspect.DictType(value_type=value_type):
            inner = (value_type,)
        case _:
            inner = ()
    for one in inner:
        yield from parts(one)
