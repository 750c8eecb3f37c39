"""The folders are the architecture: who may import whom, and what the wheel contains."""

from __future__ import annotations

import ast
import importlib
import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from statecore.status import STATE_OF, State, Status

ROOT = Path(__file__).parent.parent
FOLDERS = {
    "statecore": "statecore",
    "adapters": "statecore.adapters",
    "diagrams": "statecore.diagrams",
}

# The engine uses these parts of the standard library, and none that has a clock, a file, a socket,
# a thread or chance in it.
PURE = {
    "__future__",
    "collections",
    "dataclasses",
    "enum",
    "functools",
    "hashlib",
    "hmac",
    "inspect",
    "itertools",
    "json",
    "math",
    "operator",
    "re",
    "types",
    "typing",
}
ENGINE = PURE | {"statecore", "transitions", "pydantic", "msgspec"}
EXTRAS = {"networkx", "starlette", "uvicorn", "anyio", "websockets", "httpx", "typer", "rich"}


def tracked(*folders: str) -> list[Path]:
    """The files that git knows, below these folders."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", *folders], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).exists()]


def modules(folder: str) -> list[Path]:
    return [path for path in tracked(folder) if path.suffix == ".py"]


def import_name(path: Path) -> str:
    folder, *rest = path.relative_to(ROOT).with_suffix("").parts
    parts = [FOLDERS[folder], *rest]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path, *, only_at_import: bool = False) -> Iterator[str]:
    """Full names of what a module imports; with the flag, not what its functions import."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):
        if only_at_import and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            skipped |= set(ast.walk(node))
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            skipped |= set(ast.walk(node))
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            dots = "." * node.level
            yield from (f"{dots}{node.module}.{alias.name}" for alias in node.names)


def inside(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


ALL = [path for folder in FOLDERS for path in modules(folder)]
IDS = [str(path.relative_to(ROOT)) for path in ALL]


@pytest.mark.parametrize(
    "path", modules("statecore"), ids=lambda path: path.stem if isinstance(path, Path) else None
)
def test_the_engine_imports_what_is_pure(path: Path) -> None:
    if path.name == "__main__.py":  # `python -m statecore` is the command line
        assert list(imported(path)) == ["statecore.adapters.entry.main"]
        return
    names = list(imported(path))
    assert {name.partition(".")[0] for name in names} <= ENGINE
    assert [n for n in names if inside(n, "statecore.adapters")] == []
    assert [n for n in names if inside(n, "statecore.diagrams")] == []


def test_arrows_go_one_way() -> None:
    for path in modules("adapters"):
        lazily = path.name == "cli.py"
        names = imported(path, only_at_import=lazily)
        assert [n for n in names if inside(n, "statecore.diagrams")] == [], path
    for path in modules("diagrams"):
        assert [n for n in imported(path) if inside(n, "statecore.adapters")] == [], path
        assert {n.partition(".")[0] for n in imported(path)} & (EXTRAS - {"networkx"}) == set()


def test_no_folder_is_imported_by_its_own_name() -> None:
    """It would load a second copy of every class."""
    for path in [*ALL, *modules("tests"), *modules("docs")]:
        firsts = {name.partition(".")[0] for name in imported(path)}
        assert firsts & {"adapters", "diagrams"} == set(), path
    for path in ALL:
        assert [name for name in imported(path) if name.startswith(".")] == [], path


def test_nothing_but_the_machine_moves_a_state() -> None:
    """``state`` and ``link`` begin in ``__init__`` and then change by firing a trigger only."""
    assigned = []
    for path in modules("statecore"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        beginnings = {
            inner
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef) and node.name in ("__init__", "copy")
            for inner in ast.walk(node)
        }
        for node in set(ast.walk(tree)) - beginnings:
            if (
                isinstance(node, ast.Attribute)
                and node.attr in ("state", "link")
                and isinstance(node.ctx, ast.Store)
            ):
                assigned.append((path.name, node.lineno, ast.unparse(node)))
    assert assigned == []


def test_adapters_decide_nothing() -> None:
    """No branch on a state or a status: that is the table's business."""
    words = {str(word) for word in (*State, *Status)} - {"none"}
    branches = []
    for path in modules("adapters"):
        ours = {n.rpartition(".")[2] for n in imported(path) if n.startswith("statecore.")}
        enums = ours & {"State", "Status", "LinkState", "Trigger", "FINAL_STATES", "LIVE_STATES"}
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Compare | ast.MatchValue):
                continue
            for part in ast.walk(node):
                is_word = isinstance(part, ast.Constant) and part.value in words
                if is_word or (isinstance(part, ast.Name) and part.id in enums):
                    branches.append((path.name, node.lineno, ast.unparse(node)))
    assert branches == []


def test_the_engine_loads_no_extra() -> None:
    engine = [import_name(p) for p in modules("statecore") if p.name != "__main__.py"]
    code = (
        "import importlib, json, sys\n"
        f"for name in {engine!r}: importlib.import_module(name)\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout))
    assert {"transitions", "pydantic", "msgspec"} <= loaded
    assert loaded & EXTRAS == set()


def test_importing_the_engine_does_not_build_the_typed_view() -> None:
    """`import statecore` is to be quick: pydantic alone takes longer than all the rest."""
    code = "import statecore, sys; print('pydantic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_diagrams_without_networkx_can_be_imported() -> None:
    code = "import statecore.diagrams, sys; print('networkx' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# Each module -------------------------------------------------------------------------------------


def isort_order(name: str) -> tuple[int, str]:
    """Constants, then classes, then the rest."""
    return (0 if name.isupper() else 1 if name[:1].isupper() else 2, name)


@pytest.mark.parametrize("path", ALL, ids=IDS)
def test_a_module_says_its_one_job_and_what_is_public(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert (ast.get_docstring(tree) or "").partition("\n")[0].endswith((".", ":", ";", ",")), (
        "the first line of the docstring is a sentence"
    )
    if path.name in ("__main__.py",):
        return
    module = importlib.import_module(import_name(path))
    if path.name == "__init__.py" and not hasattr(module, "__all__"):
        assert [n for n in tree.body if not isinstance(n, ast.Expr)] == [], "names without __all__"
        return
    public = list(module.__all__)
    assert public == sorted(public, key=isort_order)
    assert len(set(public)) == len(public)
    assert [name for name in public if not hasattr(module, name)] == []


@pytest.mark.parametrize("path", ALL, ids=IDS)
def test_a_file_has_400_lines_at_most(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= 400


def test_the_pages_copy_of_the_statuses_says_the_same() -> None:
    script = (ROOT / "adapters" / "web" / "statuses.js").read_text(encoding="utf-8")

    def frozen(name: str) -> object:
        found = re.search(rf"export const {name} = Object\.freeze\((.*?)\);", script, re.DOTALL)
        assert found is not None
        return json.loads(re.sub(r",(\s*[\]}])", r"\1", found[1]))

    assert frozen("STATES") == [str(state) for state in State]
    assert frozen("STATE_OF") == {
        str(status): None if state is None else str(state) for status, state in STATE_OF.items()
    }


# The wheel ---------------------------------------------------------------------------------------


def test_the_wheel_contains_exactly_the_tracked_files(tmp_path: Path) -> None:
    """A sub-package that is left out of pyproject.toml works in place and is missing from it."""
    source = tmp_path / "source"
    for path in tracked():
        copy = source / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path), "."),
        ],
        cwd=source,
        capture_output=True,
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = set()
    for folder, package in FOLDERS.items():
        for path in tracked(folder):
            below = path.relative_to(ROOT / folder).as_posix()
            expected.add(f"{package.replace('.', '/')}/{below}")
    assert names == expected
