"""The log of a server: one event a line, whatever proxies and users write; no secrets."""

import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import fairlead

PACKAGE = Path(fairlead.__file__).parent
DOCUMENTED = Path(__file__).resolve().parent.parent / "docs" / "status.md"
ESCAPES = "a\nb\r\x1b[31mred\x00\u2028\u202e end"
SHOWN = r"a\nb\r\x1b[31mred\x00\u2028\u202e end"


def logged(script: str, configured: str = "") -> list[str]:
    """The lines that a process of its own writes: a configured log stays so."""
    script = (
        f"import structlog; from fairlead.server.telemetry import *; configure_logs({configured});"
        f"log = structlog.get_logger(); ESCAPES = {ESCAPES!r}\n" + textwrap.dedent(script)
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, timeout=30)
    assert done.stdout == b""
    text = done.stderr.decode()
    assert text.endswith("\n")
    return text[:-1].split("\n")


def test_an_event_is_a_line() -> None:
    (line,) = logged("log.info(ESCAPES, proxy=ESCAPES, many=[ESCAPES], number=7)")
    assert line.isprintable()
    assert line.replace("\\\\", "\\").count(SHOWN) == 3
    assert "number=7" in line
    assert "[info" in line


def test_a_traceback_is_told_from_events_and_shows_no_variables() -> None:
    first, *rest = logged("""
        def fail():
            key = "the private " + "key"
            raise ValueError(f"{ESCAPES}\\n2026-01-01 [info] all is well {len(key)}")

        try:
            fail()
        except ValueError:
            log.exception("something failed", proxy="p")
    """)
    assert "something failed" in first
    assert rest
    assert all(line.startswith(("Traceback", "  ")) for line in rest)
    assert all(line.isprintable() for line in rest)
    assert not any("the private key" in line for line in rest)


def test_json_is_an_object_a_line() -> None:
    lines = logged(
        """
        log.warning(ESCAPES, proxy=ESCAPES, objects=["a", "b"], number=7)
        try:
            key = "the private " + "key"
            raise ValueError(ESCAPES)
        except ValueError:
            log.exception("something failed")
        """,
        "LogFormat.JSON",
    )
    assert all(line.isascii() for line in lines)
    first, second = map(json.loads, lines)
    assert first.pop("timestamp").endswith("Z")
    assert first == {"level": "warning", "event": ESCAPES, "proxy": ESCAPES, "objects": ["a", "b"], "number": 7}
    assert second["level"] == "error"
    assert "ValueError" in second["exception"]
    assert "the private key" not in lines[1]


def test_less_than_the_level_is_not_logged() -> None:
    script = "log.info('one'); log.warning('two'); log.error('three')"
    assert [json.loads(line)["event"] for line in logged(script, "LogFormat.JSON, LogLevel.WARNING")] == [
        "two",
        "three",
    ]
    assert len(logged(script, "level=LogLevel.ERROR")) == 1


def test_what_libraries_log_has_the_same_form() -> None:
    (line,) = logged(
        "import logging; logging.getLogger('asyncio').error('task %s failed', 7); logging.getLogger('a').info('no')",
        "LogFormat.JSON",
    )
    found = json.loads(line)
    assert (found["level"], found["event"], found["logger"]) == ("error", "task 7 failed", "asyncio")


def test_the_events_that_scripts_rely_on_exist_with_their_values() -> None:
    sources = "\n".join(path.read_text() for path in (PACKAGE / "server").glob("*.py"))
    rows = re.findall(r"^\| `([^`]+)` \| (`.*?) \|", DOCUMENTED.read_text().partition("## The log")[2], re.MULTILINE)
    assert len(rows) >= 9
    for event, values in rows:
        assert f'"{event}"' in sources, event
        for value in re.findall(r"`(\w+)`", values):
            assert value == "exception" or f"{value}=" in sources or f'"{value}":' in sources, (event, value)
