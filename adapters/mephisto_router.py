"""Writes the folder that an unmodified Mephisto takes for a router of its own.

Mephisto copies the folder, adds ``static/task_config.json``, ``static/wrap_crowd_source.js`` and
the task's ``static/bundle.js``, and runs ``python app.py`` in it with ``PORT`` set: with its own
interpreter, which pins old packages and does not have ours. So ``app.py`` needs the standard
library only and becomes (``exec``, so that the signal that Mephisto sends arrives) the interpreter
that wrote it.
"""

from __future__ import annotations

import sys
from pathlib import Path

__all__ = ["FolderError", "write_router"]

# By it a folder is known to be ours, and may be written anew.
_MARK = "# Written by `statecore mephisto-router`."

_APP = '''\
{mark}
"""Becomes the statecore router; needs nothing but the standard library."""

import os
import sys

PYTHON = {python!r}
HERE = os.path.dirname(os.path.abspath(__file__))

command = [
    PYTHON,
    "-P",  # or this folder's files could stand in for modules
    "-m",
    "statecore",
    "serve",
    "--host",
    os.environ.get("STATECORE_HOST", {host!r}),
    "--port",
    os.environ.get("PORT", "3000"),
    "--static",
    os.path.join(HERE, "static"),
    "--uploads",
    "/tmp/",  # where Mephisto's LocalArchitect looks for uploaded files
]
# These belong to the interpreter that runs this file, not to the one that it becomes.
environment = {{
    name: value
    for name, value in os.environ.items()
    if name not in ("PYTHONHOME", "PYTHONPATH", "__PYVENV_LAUNCHER__")
}}
try:
    os.execve(PYTHON, command, environment)
except OSError as error:
    sys.exit(
        "cannot run %s: %s; expected: the Python that wrote this folder. "
        "Write it anew with: statecore mephisto-router DIR" % (PYTHON, error.strerror)
    )
'''

# Mephisto adds the two scripts but no page to load them: that it expects from the router.
_INDEX = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Task</title>
<script src="wrap_crowd_source.js"></script>
</head>
<body>
<noscript>This task needs JavaScript.</noscript>
<div id="app"></div>
<script src="bundle.js"></script>
</body>
</html>
"""


class FolderError(Exception):
    """The folder cannot be written; the text is one line for the operator."""


def write_router(folder: Path, *, host: str = "0.0.0.0") -> None:
    """Write the folder, or write it anew.

    Args:
        folder: made if it is missing.
        host: the address that the router will listen on, unless STATECORE_HOST is set when it
            starts.

    Raises:
        FolderError: the folder holds something else, or may not be written.
    """
    app = folder / "app.py"
    try:
        if folder.exists():
            _check_ours(folder, app)
        (folder / "static").mkdir(parents=True, exist_ok=True)
        (folder / "static" / "index.html").write_text(_INDEX, encoding="utf-8")
        text = _APP.format(mark=_MARK, python=sys.executable, host=host)
        app.write_text(text, encoding="utf-8")
    except OSError as error:
        raise FolderError(
            f"cannot write {error.filename}: {error.strerror}; expected: a folder of your own"
        ) from None


def _check_ours(folder: Path, app: Path) -> None:
    if next(folder.iterdir(), None) is None:
        return
    if not app.is_file() or not app.read_text("utf-8", "replace").startswith(_MARK):
        raise FolderError(
            f"{folder} is not empty and was not written by this command; "
            "expected: a new or an empty folder"
        )
