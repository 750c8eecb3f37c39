"""docs/protocol.md: complete, numbered, and nothing that cites it points nowhere."""

from __future__ import annotations

import ast
import re
from dataclasses import fields
from pathlib import Path

import pytest

from statecore.diagrams.protocol import protocol
from statecore.events import Route
from statecore.lifecycle import LIFECYCLE, LINK
from statecore.packets import PACKETS
from statecore.settings import RouterOptions
from statecore.status import Status

ROOT = Path(__file__).parent.parent
TEMPLATE = (ROOT / "docs" / "protocol.template.md").read_text(encoding="utf-8")
TEXT = protocol(TEMPLATE)
SOURCES = [p for d in ("statecore", "adapters", "diagrams") for p in (ROOT / d).rglob("*.py")]


def sections() -> dict[str, str]:
    """The text of each section, by its name."""
    parts = re.split(r"^## (\d) (.+)$", TEXT, flags=re.MULTILINE)
    assert parts[1::3] == [str(number) for number in range(1, 9)]
    return dict(zip(parts[2::3], parts[3::3], strict=True))


def rules() -> list[tuple[str, str]]:
    """Number and title of every rule."""
    return re.findall(r"^\*\*(\d\.\d+) (.+?)\.\*\*", TEXT, re.MULTILINE)


def rows(text: str) -> list[list[str]]:
    """The cells of every table row."""
    lines = (line for line in text.splitlines() if line.startswith("| "))
    return [[c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_the_sections_are_stable() -> None:
    """Docstrings and tests cite them by name and number."""
    assert list(sections()) == [
        "Packets",
        "HTTP",
        "The core",
        "Lifecycle",
        "The page",
        "Delivery",
        "Bad input",
        "Limits",
    ]


def test_rules_are_numbered_without_a_gap() -> None:
    numbers = [number for number, _ in rules()]
    expected = []
    for section in range(1, 9):
        count = sum(number.startswith(f"{section}.") for number in numbers)
        assert count
        expected += [f"{section}.{rule}" for rule in range(1, count + 1)]
    assert numbers == expected


def test_every_citation_leads_somewhere() -> None:
    titles = {*sections(), *(title for _, title in rules())}
    titles |= set(re.findall(r"^###+ (.+)$", TEXT, re.MULTILINE))
    numbers = {*map(str, range(1, 9)), *(number for number, _ in rules())}
    lost = []
    for path in SOURCES:
        source = re.sub(r"\s+#? ?", " ", path.read_text(encoding="utf-8"))
        for title in re.findall(r'docs/protocol\.md, "([^"]+)"', source):
            lost += [(path.name, title)] if title not in titles else []
        for number in re.findall(r"docs/protocol\.md section (\d(?:\.\d+)?)", source):
            lost += [(path.name, number)] if number not in numbers else []
    assert lost == []


def test_every_packet_type_and_status_is_there() -> None:
    firsts = [row[0] for row in rows(sections()["Packets"])]
    assert [f for f in firsts[2:] if f in {f"`{kind}`" for kind in PACKETS}][: len(PACKETS)] == [
        f"`{kind}`" for kind in PACKETS
    ]
    assert {f"`{status}`" for status in Status} <= set(firsts)


def test_what_becomes_of_a_live_update_is_said_for_every_state() -> None:
    found = [row for row in rows(TEXT) if row[0] == "`mephisto_bound_live_update`"]
    assert found[1] == [
        "`mephisto_bound_live_update`",
        "hold",
        "forward",
        "hold",
        "forward",
        "refused",
        "refused",
        "refused",
    ]


def test_every_row_and_every_reason_of_both_tables_is_there() -> None:
    text = sections()["Lifecycle"]
    moves = [row for row in rows(text) if row[0].startswith("`")]
    assert len(moves) == len(LIFECYCLE.rows) + len(LINK.rows)
    for table in (LIFECYCLE, LINK):
        for reason in {*table.ignored.values(), *table.refused.values()}:
            assert f": {reason}." in text


def test_every_route_is_there() -> None:
    firsts = " ".join(row[0] for row in rows(sections()["HTTP"]))
    for route in Route:
        assert route in firsts


def test_every_option_is_there_with_its_default_and_meaning() -> None:
    found = {row[0].strip("`"): row[1:] for row in rows(sections()["Limits"])[2:]}
    assert list(found) == [field.name for field in fields(RouterOptions)]
    assert all(default and len(text) > 20 for default, text in found.values())
    assert found["core_limit"][0] == "1 MiB"
    assert found["error_limit"][0] == "64 KiB"
    assert found["grace"][0] == "10 s"
    assert found["mailbox_packets"][0] == "1,000"
    assert found["system_token"][0] == "none"
    assert found["mailbox_packets"][1] == found["mailbox_bytes"][1]


def test_every_fault_that_a_router_names_is_there() -> None:
    """What only programming mistakes cause (LocalProtocolError) is no part of the protocol."""
    named = set()
    for path in (ROOT / "statecore").glob("*.py"):
        if path.name.startswith(("backend", "client", "worker")):
            continue  # they stand at the router's other ends
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") != "LocalProtocolError":
                named |= {
                    value.value
                    for keyword in node.keywords
                    if keyword.arg == "error_type"
                    for value in ast.walk(keyword.value)
                    if isinstance(value, ast.Constant) and isinstance(value.value, str)
                }
    assert named
    listed = {row[1] for row in rows(sections()["Bad input"]) if len(row) == 3}
    assert named - listed == set()


def test_every_refusal_over_http_is_there_with_its_status() -> None:
    made = set()
    for name in ("asgi_http", "asgi_body"):
        for node in ast.walk(ast.parse((ROOT / "adapters" / f"{name}.py").read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in (
                "refusal",
                "BodyRefused",
            ):
                status, kind = node.args[:2]
                if isinstance(status, ast.Constant) and isinstance(kind, ast.Constant):
                    made.add((kind.value, str(status.value)))
    assert ("not-found", "404") in made
    listed = {(row[1], row[2][:3]) for row in rows(sections()["Bad input"])}
    assert made - listed == set()


@pytest.mark.parametrize(
    ("template", "odd"),
    [
        (TEMPLATE + "{{moods}}", ["moods"]),
        (TEMPLATE.replace("{{limits}}", ""), ["limits"]),
    ],
)
def test_a_mark_without_a_meaning_or_a_table_without_a_mark_is_an_error(
    template: str, odd: list[str]
) -> None:
    with pytest.raises(ValueError, match=re.escape(str(odd))):
        protocol(template)
