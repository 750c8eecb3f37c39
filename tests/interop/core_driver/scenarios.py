"""The scenarios: for each, a blueprint's arguments and its shared state."""

# mypy: disable-error-code="import-not-found, no-untyped-call"

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mephisto.abstractions.blueprint import SharedTaskState
from mephisto.abstractions.blueprints.abstract.static_task.static_blueprint import (
    SharedStaticTaskState,
)
from mephisto.abstractions.blueprints.remote_procedure.remote_procedure_agent_state import (
    RemoteProcedureAgentState,
)
from mephisto.abstractions.blueprints.remote_procedure.remote_procedure_blueprint import (
    RemoteProcedureBlueprintArgs,
    SharedRemoteProcedureTaskState,
)
from mephisto.abstractions.blueprints.static_react_task.static_react_blueprint import (
    StaticReactBlueprintArgs,
)

from .chat import ChatArgs
from .events import Events

__all__ = ["SCENARIOS", "Scenario"]

Scenario = Callable[[Path, int, Events], tuple[Any, SharedTaskState]]


def live(bundle: Path, assignments: int, events: Events) -> tuple[Any, SharedTaskState]:
    """Two workers of one assignment talk in turns, then both submit."""
    state = SharedTaskState(on_unit_submitted=events.unit_completed)
    return ChatArgs(task_source=str(bundle), assignments=assignments), state


def remote(bundle: Path, assignments: int, events: Events) -> tuple[Any, SharedTaskState]:
    """One worker calls procedures that run in the core, and submits."""

    def measure(_request: str, args: Any, _state: RemoteProcedureAgentState) -> dict[str, Any]:
        """Answer with one value of each JSON type."""
        text = args["text"]
        return {
            "echo": text,
            "length": len(text),
            "ratio": 0.5,
            "empty": not text,
            "words": text.split(),
            "nothing": None,
        }

    state = SharedRemoteProcedureTaskState(
        static_task_data=_documents(assignments),
        function_registry={"measure": measure},
        on_unit_submitted=events.unit_completed,
    )
    return RemoteProcedureBlueprintArgs(task_source=str(bundle)), state


def static(bundle: Path, assignments: int, events: Events) -> tuple[Any, SharedTaskState]:
    """One worker labels a document and submits; nobody has to qualify."""
    return StaticReactBlueprintArgs(task_source=str(bundle)), _static_state(assignments, events)


def quiz(bundle: Path, assignments: int, events: Events) -> tuple[Any, SharedTaskState]:
    """The static task behind an onboarding that only the right answer passes."""

    def validate(data: dict[str, Any]) -> bool:
        return bool(data["outputs"].get("answer") == "blue")

    state = _static_state(assignments, events)
    state.onboarding_data = {"question": "What colour is a clear sky?"}
    state.validate_onboarding = validate
    args = StaticReactBlueprintArgs(
        task_source=str(bundle), onboarding_qualification="interop-knows-colours"
    )
    return args, state


def _static_state(assignments: int, events: Events) -> Any:
    return SharedStaticTaskState(
        static_task_data=_documents(assignments), on_unit_submitted=events.unit_completed
    )


def _documents(count: int) -> list[dict[str, str]]:
    return [{"text": f"document {number}"} for number in range(count)]


SCENARIOS: dict[str, Scenario] = {"live": live, "quiz": quiz, "remote": remote, "static": static}
