"""Install upstream's real programs once, into build/interop, and say where they are.

Run as a script it prepares everything and prints one line for each step. Each part is kept under
the hash of the files that pin it: a changed pin makes a new folder, an unchanged one costs nothing.
"""

import fcntl
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Environment", "InstallError", "Report", "main", "prepare"]

HERE = Path(__file__).resolve().parent
BUILD = HERE.parents[1] / "build" / "interop"
REQUIREMENTS = HERE / "mephisto-requirements.txt"
PAGES = HERE / "pages"
PAGE_LOCKS = (PAGES / "package.json", PAGES / "package-lock.json")
OLDEST_NODE = 20

Report = Callable[[str], None]


class InstallError(Exception):
    """Upstream's programs cannot be installed here; the text says what would be right."""


@dataclass(frozen=True, slots=True)
class Environment:
    """Where the installed parts are."""

    python: Path
    """The interpreter that has mephisto."""
    mephisto: Path
    """Mephisto's package folder, for the files that upstream ships in it."""
    modules: Path
    """The node_modules that the pages are bundled from."""
    node_router: Path
    """Upstream's node router with its npm dependencies."""
    node: Path


def prepare(report: Report = print) -> Environment:
    """Install what is missing and return where everything is."""
    node, npm = _find_node(report)
    BUILD.mkdir(parents=True, exist_ok=True)
    with _one_at_a_time():
        python = _mephisto(report)
        package = _package_folder(python)
        return Environment(
            python=python,
            mephisto=package,
            modules=_modules(npm, report),
            node_router=_node_router(package, npm, report),
            node=node,
        )


def _find_node(report: Report) -> tuple[Path, Path]:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        missing = "node" if node is None else "npm"
        raise InstallError(
            f"{missing} is not on PATH: upstream's router and page want Node {OLDEST_NODE}+ "
            "and npm (Debian and Ubuntu: apt-get install nodejs npm)"
        )
    version = _run([node, "--version"], "asking node for its version").strip()
    if int(version.removeprefix("v").split(".")[0]) < OLDEST_NODE:
        raise InstallError(
            f"{node} is Node {version}: upstream's page and its bundler need {OLDEST_NODE} or newer"
        )
    report(f"node {version}: {node}")
    return Path(node), Path(npm)


def _mephisto(report: Report) -> Path:
    """Return the interpreter of an environment with mephisto in it."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    with _part("mephisto", _key(version.encode(), REQUIREMENTS.read_bytes()), report) as folder:
        python = folder / "bin" / "python"
        if not _is_ready(folder):
            _run([sys.executable, "-m", "venv", str(folder)], "making a virtual environment")
            pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
            _run([*pip, "--no-deps", "-r", str(REQUIREMENTS)], f"installing {REQUIREMENTS.name}")
    return python


def _package_folder(python: Path) -> Path:
    """Find mephisto without importing it: the import needs a shim and takes most of a second."""
    find = (
        "from importlib.util import *; print(find_spec('mephisto').submodule_search_locations[0])"
    )
    return Path(_run([str(python), "-c", find], "looking for mephisto").strip())


def _modules(npm: Path, report: Report) -> Path:
    with _part("pages", _key(*(path.read_bytes() for path in PAGE_LOCKS)), report) as folder:
        if not _is_ready(folder):
            folder.mkdir()
            for path in PAGE_LOCKS:
                shutil.copy(path, folder)
            _run([str(npm), "ci", *_QUIET], "installing the page's npm packages", cwd=folder)
    return folder / "node_modules"


def _node_router(package: Path, npm: Path, report: Report) -> Path:
    source = package / "abstractions" / "architects" / "router" / "node"
    key = _key(*((source / name).read_bytes() for name in ("server.js", "package-lock.json")))
    with _part("node-router", key, report) as folder:
        if not _is_ready(folder):
            shutil.copytree(source, folder)
            _run([str(npm), "install", *_QUIET], "installing upstream's router", cwd=folder)
    return folder


_QUIET = ("--no-audit", "--no-fund", "--loglevel=error")


def _key(*contents: bytes) -> str:
    return hashlib.sha256(b"\0".join(contents)).hexdigest()[:12]


@contextmanager
def _part(name: str, key: str, report: Report) -> Iterator[Path]:
    """Yield the part's folder, and mark it ready if the block that fills it did not fail."""
    folder = BUILD / f"{name}-{key}"
    if _is_ready(folder):
        report(f"{name}: cached in {folder}")
        yield folder
        return
    # What a killed run left behind is not worth repairing.
    shutil.rmtree(folder, ignore_errors=True)
    report(f"{name}: installing in {folder}")
    yield folder
    (folder / ".ready").touch()


def _is_ready(folder: Path) -> bool:
    return (folder / ".ready").exists()


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Let a second test run wait for the first instead of filling the same folders."""
    with (BUILD / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(command: Sequence[str], doing: str, cwd: Path | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        output = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise InstallError(f"{doing} failed (exit code {done.returncode}):\n{output}")
    return done.stdout


def main() -> int:
    """Prepare everything; exit code 2 when something that is needed is missing."""
    try:
        prepare()
    except InstallError as problem:
        print(f"interop: {problem}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
