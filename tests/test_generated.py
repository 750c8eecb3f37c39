"""What is checked in is what `make docs` writes; a stale page or picture fails here."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from statecore.diagrams import draw
from statecore.diagrams.generate import BEGIN, END, generated, main, with_block

ROOT = Path(__file__).parent.parent
PAGES = generated(ROOT)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_no_page_is_stale(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == PAGES[path], "stale: run `make docs`"


def test_these_pages_are_generated() -> None:
    assert sorted(path.relative_to(ROOT).as_posix() for path in PAGES) == [
        "README.md",
        "docs/lifecycle.mmd",
        "docs/protocol.md",
    ]


def test_the_block_replaces_what_is_between_the_marks() -> None:
    text = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    expected = f"before\n{BEGIN}\n```mermaid\n{draw()}```\n{END}\nafter\n"
    assert with_block(text) == expected
    assert with_block(expected) == expected


@pytest.mark.parametrize("text", ["", BEGIN, f"{END} {BEGIN}"])
def test_without_the_marks_nothing_is_written(text: str) -> None:
    with pytest.raises(ValueError, match="lifecycle:begin"):
        with_block(text)


def test_main_writes_what_is_stale_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "protocol.template.md", tmp_path / "docs")
    (tmp_path / "README.md").write_text(f"# Mine\n{BEGIN}\n{END}\n")
    assert main(tmp_path) == 0
    assert capsys.readouterr().out.splitlines() == [
        "wrote docs/protocol.md",
        "wrote docs/lifecycle.mmd",
        "wrote README.md",
    ]
    assert {path: path.read_text() for path in generated(tmp_path)} == generated(tmp_path)
    assert main(tmp_path) == 0
    assert capsys.readouterr().out == ""


def test_main_outside_of_a_checkout_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main() == 2
    assert f"{tmp_path} is no checkout of statecore: " in capsys.readouterr().err
