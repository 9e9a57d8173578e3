"""Documents: taking files apart, values as Kubernetes reads them, and places of fields and faults."""

import json
from textwrap import dedent
from typing import Any

import pytest
import yaml
from fairlead.models import documents
from fairlead.models.documents import Item, locate, parse, split
from fairlead.problems import FieldPath
from hypothesis import given
from hypothesis import strategies as st

# YAML has no control characters, and takes some others that JSON allows in texts for ends of lines.
# Short enough to be keys: YAML's reader takes those of up to 1024 characters, and JSON may write one as twelve.
texts = st.text(st.characters(exclude_categories=["C"], exclude_characters="\u2028\u2029\ufeff"), max_size=80).filter(
    lambda text: text[:1] not in "+-.0123456789" or not text  # PyYAML leaves 0E0 unquoted, which is a number to others
)
names = texts | st.sampled_from(["on", "a b", "a: b", "- a", "#", "1", "<", "'", '"'])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=20,
)
objects = st.dictionaries(names, values, max_size=5)


def items(text: str | bytes) -> list[Any]:
    parsed = parse(text if isinstance(text, bytes) else dedent(text).encode())
    assert parsed.problems == ()
    assert all(item.problems == () for item in parsed.items)
    return [item.data for item in parsed.items]


def value(text: str) -> Any:
    """What a value in flow style is read as."""
    (item,) = items(f"value: {text}\n")
    return item["value"]


# --- Files and documents ----------------------------------------------------------------------------------------------


def test_a_file_is_split_at_markers_and_lines_are_counted() -> None:
    data = (
        b"\xef\xbb\xbf# head\n"
        b"%YAML 1.1\n"
        b"---\n"
        b"a: 1\n"
        b"--- # next\n"
        b"b: |\n"
        b"  ---\n"
        b"  ...\n"
        b"...\n"
        b"# only a comment\n"
        b"---\r\n"
        b"-----: c\r\n"
        b"...\n"
        b"--- {d: 1}\n"
        b"---"
    )
    found = [(document.line, document.text) for document in split(data)]
    assert found == [
        (1, b"# head\n%YAML 1.1\n---\na: 1\n"),
        (5, b"--- # next\nb: |\n  ---\n  ...\n"),
        (10, b"# only a comment\n"),
        (11, b"---\r\n-----: c\r\n"),
        (14, b"--- {d: 1}\n"),
        (15, b"---"),
    ]
    assert [items(text) for _, text in found] == [
        [{"a": 1}],
        [{"b": "---\n...\n"}],
        [],
        [{"-----": "c"}],
        [{"d": 1}],
        [],
    ]


@given(st.lists(objects, max_size=4))
def test_documents_of_a_file_are_read_as_they_were_written(written: list[dict[str, Any]]) -> None:
    data = yaml.safe_dump_all(written, allow_unicode=True, explicit_start=True).encode()
    assert [item for document in split(data) for item in items(document.text)] == written


@given(objects, st.sampled_from([None, 2, "\t"]), st.booleans())
def test_json_is_read_as_it_was_written(written: dict[str, Any], indent: int | str | None, ascii_only: bool) -> None:
    assert items(json.dumps(written, indent=indent, ensure_ascii=ascii_only).encode()) == [written]


def test_equal_documents_have_equal_digests_wherever_they_are() -> None:
    one, two, three = split(b"---\na: 1\n---\nb: 1\n---\na: 1\n")
    assert one.digest == three.digest
    assert one.digest != two.digest


def test_a_fault_in_one_document_leaves_the_others_alone() -> None:
    found = split(b"a: 1\n---\na: [\n---\n\tb\n---\n'\n---\nc: \xff\n---\nd: 1\n")
    assert [[item.data for item in parse(document.text).items] for document in found] == [
        [{"a": 1}],
        [],
        [],
        [],
        [],
        [{"d": 1}],
    ]


def test_lists_are_taken_apart() -> None:
    parsed = parse(
        b"apiVersion: v1\n"
        b"kind: List\n"
        b"items:\n"
        b"- kind: A\n"
        b"- apiVersion: v1\n"
        b"  kind: ServiceList\n"
        b"  items: [{metadata: 1}, text, {kind: B, kind: C}]\n"
        b"metadata: {resourceVersion: ''}\n"
    )
    assert [(item.root, item.data) for item in parsed.items] == [
        (("items", 0), {"kind": "A"}),
        (("items", 1, "items", 0), {"apiVersion": "v1", "kind": "Service", "metadata": 1}),
        (("items", 1, "items", 2), {"apiVersion": "v1", "kind": "B"}),
    ]
    assert [[problem.path for problem in item.problems] for item in parsed.items] == [[], [], [("kind",)]]
    assert [(problem.code, problem.path) for problem in parsed.problems] == [
        ("not-an-object", ("items", 1, "items", 1))
    ]


@pytest.mark.parametrize(("text", "code"), [("- a", "not-an-object"), ("a", "not-an-object"), ("5", "not-an-object")])
def test_what_is_no_object_is_told(text: str, code: str) -> None:
    parsed = parse(text.encode())
    assert parsed.items == ()
    assert [problem.code for problem in parsed.problems] == [code]


# --- Values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("true", True),
        ("Yes", True),
        ("ON", True),
        ("no", False),
        ("Off", False),
        ("y", "y"),
        ("'yes'", "yes"),
        ("", None),
        ("~", None),
        ("Null", None),
        ("'~'", "~"),
        ("42", 42),
        ("+42", 42),
        ("-1", -1),
        ("0o17", 15),
        ("017", 15),
        ("0x1F", 31),
        ("0b101", 5),
        ("1_000", 1000),
        ("1.50", 1.5),
        (".5", 0.5),
        ("5.", 5.0),
        ("1e3", 1000.0),
        ("089", 89.0),
        (".inf", float("inf")),
        ("-.INF", float("-inf")),
        ("1.2.3", "1.2.3"),
        ("10.0.0.1", "10.0.0.1"),
        ("12:30:45", "12:30:45"),
        ("2024-01-01", "2024-01-01"),
        ("2024-01-01T00:00:00Z", "2024-01-01T00:00:00Z"),
        ("5s", "5s"),
        ("1e", "1e"),
        ("-", ["-"]),
        ("+", "+"),
        (".", "."),
        ("=", "="),
        ("!!str 5", "5"),
        ("!!int '5'", 5),
        ("9" * 65, "9" * 65),
        ('"\\ud83d\\ude00 \\\\ud83d"', "😀 \\ud83d"),
    ],
)
def test_values_are_resolved_as_kubernetes_does(text: str, expected: Any) -> None:
    found = value(text) if text != "-" else value("[-]") or ["-"]
    assert found == expected
    assert type(found) is type(expected)


def test_names_are_texts_whatever_they_look_like() -> None:
    assert items("80: a\ntrue: b\n1.50: c\nnull: d\n'<<': e\n") == [
        {"80": "a", "true": "b", "1.50": "c", "null": "d", "<<": "e"}
    ]


def test_aliases_and_merges() -> None:
    assert items(
        """\
        first: &first {a: 1, b: [x]}
        second: &second {a: 2, c: 2}
        own-fields-win: {a: 3, <<: *first}
        of-several-the-first-wins: {<<: [*first, *second]}
        same: *first
        """
    ) == [
        {
            "first": {"a": 1, "b": ["x"]},
            "second": {"a": 2, "c": 2},
            "own-fields-win": {"a": 3, "b": ["x"]},
            "of-several-the-first-wins": {"a": 1, "b": ["x"], "c": 2},
            "same": {"a": 1, "b": ["x"]},
        }
    ]


def bomb() -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    return "\n".join(lines)


def bomb_of_merges() -> str:
    lines = ["a0: &a0 {x: y}"]
    lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 12)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    "text",
    [
        bomb(),
        "a: &a [*a]",
        "a: &a {b: *a}",
        "a: &a {<<: *a}",
        "[" * 100_000,
        "- " * 5_000,
        "{a: " * 5_000,
        "? " * 5_000,
    ],
)
def test_documents_that_expand_or_nest_beyond_measure_are_refused(text: str) -> None:
    parsed = parse(text.encode())
    assert parsed.items == ()
    assert [problem.code for problem in parsed.problems] == ["syntax"]
    assert locate(text.encode(), ("a11", "b", "c"))[0] >= 1


# --- Places -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("a:\n\t- b", (2, 1), "a tab is used for indentation"),
        ("a: @b", (1, 4), "a value cannot begin with @"),
        ("a: `b`", (1, 4), "a value cannot begin with `"),
        ("é: @b", (1, 4), "a value cannot begin with @"),
        ("a: b: c", (1, 5), "a colon stands where no name of a field can be"),
        ("a: 1\n  b: 2", (2, 4), "a colon stands where no name of a field can be"),
        ("a:\n- b\nc\nd: 1", (4, 1), "a colon is missing after the name of a field"),
        ("a: 'x\nb: c\n", (1, 4), "the quoted text that begins here does not end"),
        ("a: [1\nb: c", (2, 2), "a comma is missing, or the list above is not closed"),
        ('{"a": 1\n "b": 2}', (2, 5), "a comma is missing, or the mapping above is not closed"),
        ("a:\n - b\n c: d", (3, 2), "the indentation does not fit that of the lines above"),
        ("a:\n   b: 1\n  c: d", (3, 3), "the indentation does not fit that of the lines above"),
        ("a: *b", (1, 4), "the alias refers to no anchor above it"),
        ('a: "\\d"', (1, 5), "the backslash begins no escape sequence"),
        ("a: b\nc: \xff", (2, 4), "the text has a byte or character that YAML does not allow"),
        ("a: b\nc: \0", (2, 4), "the text has a byte or character that YAML does not allow"),
    ],
)
def test_syntax_errors_are_told_in_words_with_their_place(text: str, place: tuple[int, int], message: str) -> None:
    data = text.encode("latin-1" if "\xff" in text else "utf-8")
    (problem,) = parse(data).problems
    assert (problem.code, problem.message.partition(":")[0]) == ("syntax", message)
    assert locate(data, problem.path) == place
    assert locate(data, ("spec", "hosts", 0)) == place


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("a:\n  b: 1\n  c: 2\n  b: 3", (4, 3), "'b' is given more than once"),
        ("a: !Ref b", (1, 4), "the tag !Ref has no meaning here"),
        ("a: !Ref {b: c}", (1, 4), "the tag !Ref has no meaning here"),
        ("a: {<<: b}", (1, 9), "only a mapping can be merged by <<"),
        ("a: {{ .Values.a }}", (1, 4), "a mapping or list stands where a name is due"),
    ],
)
def test_faults_of_the_text_are_told_with_their_place(text: str, place: tuple[int, int], message: str) -> None:
    (item,) = parse(text.encode()).items
    (problem,) = item.problems
    assert problem.message == message
    assert locate(text.encode(), problem.path, key=problem.code == "duplicate-key") == place


TEXT = b"""\
# A comment
kind: List
items:
- kind: A
  spec:
    hosts: &hosts
    - a
    -   b
    retry_on: 5xx
    flow: {x: [1,  2], y: }
- spec: {<<: [{merged: 1, both: 2}, {both: 3}], hosts: *hosts}
"""


@pytest.mark.parametrize(
    ("path", "place_of_value", "place_of_key"),
    [
        ((), (2, 1), (2, 1)),
        (("items", 0), (4, 3), (4, 3)),
        (("items", 0, "kind"), (4, 9), (4, 3)),
        (("items", 0, "spec", "hosts", 1), (8, 9), (8, 9)),
        (("items", 0, "spec", "retryOn"), (9, 15), (9, 5)),
        (("items", 0, "spec", "flow", "x", 1), (10, 20), (10, 20)),
        (("items", 0, "spec", "flow", "y"), (10, 27), (10, 24)),
        (("items", 1, "spec", "merged"), (11, 24), (11, 16)),
        (("items", 1, "spec", "both"), (11, 33), (11, 27)),
        (("items", 1, "spec", "hosts", 0), (7, 7), (7, 7)),
        (("items", 0, "spec", "missing"), (5, 3), (5, 3)),
        (("items", 0, "spec", "missing", "below"), (5, 3), (5, 3)),
        (("items", 0, "missing"), (4, 3), (4, 3)),
        (("items", 7), (3, 1), (3, 1)),
        (("missing",), (2, 1), (2, 1)),
        (("kind", "no", "mapping"), (2, 1), (2, 1)),
    ],
)
def test_places_of_fields(path: FieldPath, place_of_value: tuple[int, int], place_of_key: tuple[int, int]) -> None:
    assert locate(TEXT, path) == place_of_value
    assert locate(TEXT, path, key=True) == place_of_key


def paths(data: Any, path: FieldPath = ()) -> dict[FieldPath, Any]:
    found = {path: data}
    pairs = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for part, inner in pairs:
        found |= paths(inner, (*path, part))
    return found


@given(objects.filter(bool), st.data())
def test_every_value_is_found_where_it_is_written(written: dict[str, Any], data: st.DataObject) -> None:
    # In JSON a value can be read from its first character on, whatever follows.
    text = json.dumps(written, indent=1, ensure_ascii=False)
    path, expected = data.draw(st.sampled_from(sorted(paths(written).items(), key=repr)))
    line, column = locate(text.encode(), path)
    rest = "\n".join([text.split("\n")[line - 1][column - 1 :], *text.split("\n")[line:]])
    assert json.JSONDecoder().raw_decode(rest)[0] == expected


def test_items_are_plain() -> None:
    """What is parsed can be kept, compared and sent to another process."""
    assert documents.parse(b"a: [1, x]").items == (Item({"a": [1, "x"]}, ()),)


@given(st.binary(max_size=40) | st.text("ab:- \n\t'\"[]{}#&*!|>%@?.<~\\\0é0").map(str.encode))
def test_no_text_whatsoever_raises(data: bytes) -> None:
    for document in split(data):
        parsed = parse(document.text)
        for path in [problem.path for problem in parsed.problems] + [
            item.root + problem.path for item in parsed.items for problem in item.problems
        ]:
            for key in (False, True):
                line, column = locate(document.text, path, key=key)
                assert line >= 1
                assert column >= 1
