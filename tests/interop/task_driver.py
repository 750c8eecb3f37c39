"""Our task server in a process of its own: one scenario, told in JSON lines as the core driver does.

A line on stdin is sent to every agent of the assignments that run; the end of stdin is the end.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from typing import Any

import anyio

from statecore.adapters.agents import Assignment, Unit
from statecore.adapters.task import LiveTask, StaticTask, Submission
from statecore.adapters.task_server import TaskServer
from statecore.backend_events import Refused
from statecore.effects import Count, Send
from statecore.events import Closed, Frame, Opened

__all__ = ["main"]

ROUNDS = 2

running: list[Assignment] = []


def tell(event: str, **facts: Any) -> None:
    """Write one event."""
    print(json.dumps({"event": event, **facts}), flush=True)


# The scenarios, by the author's interface ----------------------------------------------------


def quiz() -> StaticTask:
    """A static task behind an onboarding that only the right answer passes."""

    async def passes(answers: Any) -> bool:
        tell("judged", answers=answers)
        return isinstance(answers, dict) and answers.get("answer") == "blue"

    return StaticTask(
        name="quiz",
        units=({"text": f"document {number}"} for number in range(3)),
        onboarding=passes,
        onboarding_data={"question": "What colour is a clear sky?"},
        on_submission=submitted,
        on_metadata=noted,
    )


def live() -> LiveTask:
    """Two workers of one assignment answer each other in turns, then both submit."""

    async def talk(assignment: Assignment) -> None:
        running.append(assignment)
        tell("started", agents=[agent.agent_id for agent in assignment.agents])
        for _ in range(ROUNDS):
            for speaker in assignment.agents:
                text = (await speaker.receive())["text"]
                tell("heard", agent=speaker.agent_id, text=text)
                for listener in assignment.agents:
                    if listener is not speaker:
                        await listener.send({"id": speaker.agent_id, "text": text})
        await assignment.broadcast({"id": "task", "text": "", "task_done": True})
        for agent in assignment.agents:
            await agent.submission()

    return LiveTask(
        name="live",
        assignments=[{"topic": "topic 0"}],
        seats=2,
        run=talk,
        on_submission=submitted,
        on_metadata=noted,
    )


def remote() -> StaticTask:
    """One worker calls a procedure of ours, by live updates as upstream's pages send them."""

    async def answer(unit: Unit) -> None:
        async for call in unit.updates():
            tell("called", target=call["target"], args=call["args"])
            text = json.loads(call["args"])["text"]
            response = {"echo": text, "length": len(text), "words": text.split(), "nothing": None}
            await unit.send({"handles": call["request_id"], "response": json.dumps(response)})

    return StaticTask(
        name="remote", units=[{"text": "document 0"}], run=answer, on_submission=submitted
    )


def submitted(submission: Submission) -> None:
    """A unit's work came."""
    tell(
        "submission",
        unit=submission.unit_id,
        agent=submission.agent_id,
        worker=submission.worker,
        data=submission.data,
        status=submission.status,
    )


def noted(agent_id: str, data: Any) -> None:
    """Metadata came."""
    tell("metadata", agent=agent_id, data=data)


SCENARIOS: dict[str, Callable[[], StaticTask | LiveTask]] = {
    "live": live,
    "quiz": quiz,
    "remote": remote,
}


# Running ---------------------------------------------------------------------------------------


def watch(server: TaskServer) -> None:
    """Look on at the core's edge: what it takes, and what it says and counts."""
    receive = server.core.receive

    def receive_and_tell(event: Any) -> Iterable[Any]:
        effects = receive(event)
        for effect in effects:
            match effect:
                case Send(packet=packet):
                    kind, data = packet.packet_type, json.loads(bytes(packet.data))
                    tell("sent", packet_type=kind, subject_id=packet.subject_id, data=data)
                case Count(name=name, label=label):
                    tell("counted", name=name, label=label)
                case Refused(error_type=kind, text=text):
                    tell("refused", error_type=kind, text=text)
        # After what came of it, so that who waits for it finds that too.
        match event:
            case Opened(connection=name):
                tell("connected", router=name)
            case Closed(connection=name):
                tell("lost", router=name)
            case Frame(payload=payload):
                tell("received", **json.loads(payload))
        return effects

    server.core.receive = receive_and_tell  # type: ignore[method-assign,assignment]


async def serve(scenario: str, router: str) -> None:
    """Run until stdin ends."""
    server = TaskServer(SCENARIOS[scenario](), [router])
    watch(server)
    async with anyio.create_task_group() as tasks:
        await tasks.start(server.run)
        tell("ready", scenario=scenario)
        async for line in anyio.wrap_file(sys.stdin):
            for assignment in running:
                await assignment.broadcast({"id": "task", "text": line.rstrip("\n")})
        tasks.cancel_scope.cancel()
    tell("done")


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(prog="interop.task_driver", description=__doc__)
    parser.add_argument("scenario", choices=sorted(SCENARIOS))
    parser.add_argument("--router", required=True, help="its address")
    options = parser.parse_args()
    anyio.run(serve, options.scenario, options.router)


if __name__ == "__main__":
    main()
