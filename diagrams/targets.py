"""From ``module:attribute`` and a format to a picture's text: what ``statecore diagram`` calls."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transitions import Machine
from transitions.extensions.nesting import HierarchicalMachine

from statecore.lifecycle import LIFECYCLE
from statecore.machine import LifecycleMachine
from statecore.table import Lifecycle

if TYPE_CHECKING:
    from statecore.diagrams.graph import Graph

__all__ = ["FORMATS", "DiagramError", "draw", "load_target"]

FORMATS = ("mermaid",)


class DiagramError(ValueError):
    """What was asked for cannot be drawn; the text says what would be right."""


def draw(target: str | None = None, format: str = "mermaid") -> str:  # noqa: A002  # the flag's name
    """Draw a lifecycle or a ``transitions`` machine.

    Args:
        target: ``module:attribute``, where the attribute is a ``Lifecycle``, a
            ``LifecycleMachine`` or a ``transitions.Machine``; ``None`` for the built-in lifecycle.
            Modules of the current directory are found too.
        format: one of ``FORMATS``.

    Raises:
        DiagramError: the target or the format does not exist, or the target is something else.
    """
    if format not in FORMATS:
        raise DiagramError(f"there is no format {format!r}; known: {', '.join(FORMATS)}")
    found = LIFECYCLE if target is None else load_target(target)
    try:
        from statecore.diagrams.mermaid import mermaid
    except ModuleNotFoundError as error:
        raise DiagramError(
            f"drawing needs {error.name}: pip install 'statecore[diagrams]'"
        ) from None
    return mermaid(_graph(found, target))


def load_target(target: str) -> Any:
    """Import what ``module:attribute`` names; the attribute may have dots.

    Raises:
        DiagramError: there is no such module or attribute, or the import fails.
    """
    name, colon, path = target.partition(":")
    if not (name and colon and path):
        raise DiagramError(f"{target!r} is no target; expected module:attribute")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise DiagramError(f"{target}: there is no module {error.name!r}") from None
        raise DiagramError(f"{target}: importing it failed: {error}") from error
    except Exception as error:  # whatever somebody else's module does when it is imported
        raise DiagramError(
            f"{target}: importing it failed: {type(error).__name__}: {error}"
        ) from error
    finally:
        sys.path.remove(here)
    for step in path.split("."):
        try:
            found = getattr(found, step)
        except AttributeError:
            raise DiagramError(f"{target}: {name!r} has no attribute {path!r}") from None
    return found


def _graph(found: object, target: str | None) -> Graph:
    from statecore.diagrams.graph import lifecycle_graph, machine_graph

    if isinstance(found, LifecycleMachine):
        found = found.lifecycle
    if isinstance(found, Lifecycle):
        return lifecycle_graph(found)
    if isinstance(found, HierarchicalMachine):
        raise DiagramError(f"{target} has nested states; expected a flat machine")
    if isinstance(found, Machine):
        return machine_graph(found, str(target))
    raise DiagramError(
        f"{target} is a {type(found).__name__}; "
        "expected a Lifecycle, a LifecycleMachine or a transitions.Machine"
    )
