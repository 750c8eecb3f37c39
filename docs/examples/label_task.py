"""A static task: three texts, two opinions on each. Run it beside `statecore serve`."""

from statecore.adapters.agents import Unit
from statecore.adapters.task import StaticTask
from statecore.adapters.task_server import run_task


async def run(unit: Unit) -> None:
    """One worker's unit, from its start to its end."""
    answer = await unit.submission()
    print(f"{unit.data['text']!r}: {answer['label']}")


TASK = StaticTask(
    name="labels",
    units=[{"text": text} for text in ("Well made.", "It broke.", "Does it float?")],
    copies=2,
    run=run,
)

if __name__ == "__main__":
    run_task(TASK, "ws://127.0.0.1:3000/")
