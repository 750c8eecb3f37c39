"""Writes the generated pages: ``python -m statecore.diagrams.generate``, which is ``make docs``.

docs/protocol.md and docs/lifecycle.mmd are generated whole, README.md between two marks. A test
holds that what is checked in is what this would write.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from statecore.diagrams.protocol import protocol
from statecore.diagrams.targets import draw

__all__ = ["BEGIN", "END", "generated", "main", "with_block"]

BEGIN = "<!-- lifecycle:begin -->"
END = "<!-- lifecycle:end -->"


def generated(root: Path) -> Mapping[Path, str]:
    """What should stand in each generated file of this checkout."""
    readme, template = root / "README.md", root / "docs" / "protocol.template.md"
    return {
        root / "docs" / "protocol.md": protocol(template.read_text(encoding="utf-8")),
        root / "docs" / "lifecycle.mmd": draw(),
        readme: with_block(readme.read_text(encoding="utf-8")),
    }


def with_block(text: str) -> str:
    """A text with the lifecycle's picture between its marks.

    Raises:
        ValueError: the marks are missing, or in the wrong order.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"no {BEGIN} with {END} after it")
    return f"{before}{begin}\n```mermaid\n{draw()}```\n{end}{after}"


def main(root: Path | None = None) -> int:
    """Write what is stale and say what was written; exit code 2 outside of a checkout."""
    root = Path.cwd() if root is None else root
    try:
        pages = generated(root)
    except (OSError, ValueError) as error:
        print(f"{root} is no checkout of statecore: {error}", file=sys.stderr)
        return 2
    for path, text in pages.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(root)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
