"""A live blueprint of two workers who answer each other in turns: the least that a chat needs."""

# mypy: disable-error-code="import-not-found, misc, no-untyped-call, untyped-decorator"

from dataclasses import dataclass, field
from typing import Any, ClassVar

from mephisto.abstractions.blueprint import (
    AgentState,
    Blueprint,
    BlueprintArgs,
    SharedTaskState,
    TaskRunner,
)
from mephisto.abstractions.blueprints.static_react_task.static_react_task_builder import (
    StaticReactTaskBuilder,
)
from mephisto.data_model.agent import Agent
from mephisto.data_model.assignment import Assignment, InitializationData
from mephisto.operations.registry import register_mephisto_abstraction
from omegaconf import MISSING, DictConfig

__all__ = ["ChatArgs", "ChatBlueprint", "ChatRunner", "ChatState"]

TYPE = "interop_chat"


@dataclass
class ChatArgs(BlueprintArgs):
    _blueprint_type: str = TYPE
    task_source: str = MISSING
    assignments: int = field(default=1, metadata={"help": "how many pairs can work"})
    rounds: int = field(default=2, metadata={"help": "how many messages each worker writes"})
    patience: int = field(default=60, metadata={"help": "seconds to wait for a worker's turn"})


class ChatState(AgentState):
    """What one worker wrote and read, in the shape of upstream's chats: a reload replays it."""

    def _set_init_state(self, data: Any) -> None:
        self.init_data = data

    def get_init_state(self) -> dict[str, Any] | None:
        """Return what the page gets with its agent, also after a reload."""
        if self.init_data is None:
            return None
        return {"task_data": self.init_data, "past_live_updates": self.messages}

    def _file(self) -> str:
        return f"{self.agent.get_data_dir()}/state.json"

    def _load_data(self) -> None:
        self.init_data = None
        self.messages: list[dict[str, Any]] = []
        self.final_submission = None
        if self.agent.db.key_exists(self._file()):
            stored = self.agent.db.read_dict(self._file())
            self.init_data = stored["inputs"]
            self.messages = stored["messages"]
            self.final_submission = stored["final_submission"]

    def get_data(self) -> dict[str, Any]:
        """Return everything that is stored."""
        return {
            "inputs": self.init_data,
            "messages": self.messages,
            "final_submission": self.final_submission,
        }

    def _save_data(self) -> None:
        self.agent.db.write_dict(self._file(), self.get_data())

    def update_data(self, live_update: dict[str, Any]) -> None:
        """Keep a message that the worker sent or was sent."""
        self.messages.append(live_update)
        self.save_data()

    def _update_submit(self, submitted_data: dict[str, Any]) -> None:
        self.final_submission = submitted_data


class ChatRunner(TaskRunner):
    """Runs one assignment: the workers speak in turns, each hears the other, then both submit."""

    def __init__(self, task_run: Any, args: DictConfig, shared_state: SharedTaskState) -> None:
        super().__init__(task_run, args, shared_state)
        self.is_concurrent = True

    def get_init_data_for_agent(self, agent: Agent) -> dict[str, Any]:
        """Return a new agent's task data, or a returning one's with its history."""
        data = self.get_data_for_assignment(agent.get_assignment()).shared
        agent.state.set_init_state(data)
        found: dict[str, Any] = agent.state.get_init_state()
        return found

    def run_assignment(self, assignment: Assignment, agents: list[Agent]) -> None:
        """Relay what each worker says in its turn, say that the talk is over, await both."""
        patience = self.args.blueprint.patience
        for _ in range(self.args.blueprint.rounds):
            for speaker in agents:
                said = speaker.get_live_update(timeout=patience)
                for listener in agents:
                    if listener is not speaker:
                        listener.observe({"id": speaker.get_agent_id(), "text": said["text"]})
        for agent in agents:
            agent.observe({"id": "core", "text": "", "task_done": True})
        for agent in agents:
            agent.await_submit(timeout=patience)

    def cleanup_assignment(self, assignment: Assignment) -> None:
        """Nothing outlives the thread."""


@register_mephisto_abstraction()
class ChatBlueprint(Blueprint):
    """Ties the parts together; the page is one bundle, as in upstream's React blueprints."""

    AgentStateClass: ClassVar[Any] = ChatState
    TaskBuilderClass: ClassVar[Any] = StaticReactTaskBuilder
    TaskRunnerClass: ClassVar[Any] = ChatRunner
    ArgsClass = ChatArgs
    SharedStateClass = SharedTaskState
    BLUEPRINT_TYPE = TYPE

    def get_initialization_data(self) -> list[InitializationData]:
        """One assignment of two units for each pair."""
        return [
            InitializationData(shared={"topic": f"topic {number}"}, unit_data=[{}, {}])
            for number in range(self.args.blueprint.assignments)
        ]
