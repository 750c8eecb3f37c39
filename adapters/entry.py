"""Where the ``statecore`` command begins: without its extra it says what to install.

Only what a bare ``pip install statecore`` brings may be imported here.
"""

from __future__ import annotations

import sys

__all__ = ["main", "missing_extra"]


def main() -> None:
    """Run the command line, or say in one line why that cannot be."""
    try:
        from statecore.adapters import cli
    except ModuleNotFoundError as error:
        print("statecore:", missing_extra(error), file=sys.stderr)
        sys.exit(2)
    cli.main()


def missing_extra(error: ModuleNotFoundError) -> str:
    """What to install for a module of other people's that was not found.

    Raises:
        ModuleNotFoundError: the module is our own, so no installing would help.
    """
    if error.name is None or error.name.partition(".")[0] == "statecore":
        raise error
    return f"{error.name} is not installed; expected: pip install 'statecore[server]'"
