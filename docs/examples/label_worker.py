"""A worker without a browser, for trying a task out: takes a unit and hands it in."""

import sys

import anyio

from statecore.adapters.client import open_worker
from statecore.settings import ClientOptions


async def work(url: str, name: str, label: str) -> None:
    """Take one unit of the task behind this router and label its text.

    A static worker opens no socket, so no status reaches it while it works: it may submit at once.
    """
    options = ClientOptions(live=False)
    async with open_worker(url, worker_name=name, assignment_id="a", options=options) as worker:
        print(f"{name} labels {worker.init_data['text']!r} as {label}")
        await worker.submit({"label": label})


if __name__ == "__main__":
    anyio.run(work, "http://127.0.0.1:3000", sys.argv[1], sys.argv[2])
