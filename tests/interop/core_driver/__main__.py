"""Run one scenario until stdin closes."""

# mypy: disable-error-code="import-not-found, no-untyped-call"

import argparse
import sys
import threading
from pathlib import Path
from typing import Any

import mephisto.abstractions.architects.local_architect as local_architect
import mephisto.operations.client_io_handler as client_io_handler
import mephisto.operations.operator as operator_module
import mephisto.operations.task_launcher as task_launcher
from mephisto.abstractions.architects.local_architect import LocalArchitectArgs
from mephisto.abstractions.databases.local_singleton_database import MephistoSingletonDB
from mephisto.abstractions.providers.mock.mock_provider import MockProviderArgs
from mephisto.data_model.task_run import TaskRunArgs
from mephisto.operations.hydra_config import MephistoConfig
from mephisto.operations.operator import Operator
from omegaconf import OmegaConf

from .architect import RunningRouterArgs
from .events import Events
from .scenarios import SCENARIOS

__all__ = ["main"]


def main() -> int:
    """Start the core, say when it is ready, and stop it when stdin closes."""
    options = _options()
    events = Events()
    events.watch()
    _hurry(options)
    database = MephistoSingletonDB(database_path=str(options.data / "database.db"))
    operator = Operator(database)
    blueprint, shared_state = SCENARIOS[options.scenario](
        options.bundle or _empty_bundle(options.data), options.assignments, events
    )
    config = OmegaConf.structured(
        MephistoConfig(
            blueprint=blueprint,
            provider=MockProviderArgs(requester_name="MOCK_REQUESTER"),
            architect=_architect(options),
            task=TaskRunArgs(
                task_title="interop",
                task_description=options.scenario,
                task_reward=0.1,
                task_tags="interop",
            ),
        )
    )
    try:
        operator.launch_task_run_or_die(config, shared_state)
        events.tell("ready", scenario=options.scenario)
        _run_until_stdin_closes(operator, events)
    finally:
        _stop(operator)
        database.shutdown()
    events.tell("done")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="interop.core_driver", description=__doc__)
    parser.add_argument("scenario", choices=sorted(SCENARIOS))
    parser.add_argument("--data", type=Path, required=True, help="an empty folder to keep all in")
    parser.add_argument("--port", type=int, required=True, help="the router's port")
    parser.add_argument("--static", type=Path, help="the folder that the running router serves")
    parser.add_argument("--source", type=Path, help="start this folder with the local architect")
    parser.add_argument("--bundle", type=Path, help="the page's bundle.js")
    parser.add_argument("--assignments", type=int, default=1)
    parser.add_argument("--poll", type=float, default=4.0, help="seconds between status requests")
    options = parser.parse_args()
    if (options.static is None) == (options.source is None):
        parser.error("give --static for a router that runs, or --source for one to start")
    return options


def _architect(options: argparse.Namespace) -> Any:
    port = str(options.port)
    if options.static is not None:
        return RunningRouterArgs(port=port, static=str(options.static))
    return LocalArchitectArgs(
        hostname="127.0.0.1",
        port=port,
        server_type="flask",
        server_source_path=str(options.source),
    )


def _hurry(options: argparse.Namespace) -> None:
    """Shorten upstream's waits, keep its files in our folder, open no port but the router's."""
    operator_module.RUN_STATUS_POLL_TIME = 0.1
    task_launcher.UNIT_GENERATOR_WAIT_SECONDS = 0.1
    client_io_handler.STATUS_CHECK_TIME = options.poll
    # The metrics exporter listens on a fixed port of every interface.
    operator_module.start_metrics_server = lambda: None
    operator_module.launch_prometheus_server = lambda: False
    # By default a server is copied into the folder that mephisto is installed in.
    local_architect.get_mephisto_tmp_dir = lambda: str(options.data / "servers")


def _empty_bundle(folder: Path) -> Path:
    """Serve something where no browser will look: the blueprints insist on a bundle."""
    bundle = folder / "empty-bundle.js"
    bundle.touch()
    return bundle


def _run_until_stdin_closes(operator: Operator, events: Events) -> None:
    loop = operator._event_loop

    def wait_for_the_end() -> None:
        sys.stdin.buffer.read()
        events.stopping()
        loop.call_soon_threadsafe(loop.stop)

    threading.Thread(target=wait_for_the_end, name="stdin", daemon=True).start()
    loop.run_forever()


def _stop(operator: Operator) -> None:
    """Do what `Operator.force_shutdown` does, in its order, without its sleeps in between."""
    operator.is_shutdown = True
    runs = list(operator.get_running_task_runs().values())
    for run in runs:
        run.task_launcher.shutdown()
        run.task_launcher.expire_units()
    for run in runs:
        run.architect.shutdown()
    for run in runs:
        run.shutdown()
    operator._event_loop.run_until_complete(operator.shutdown_async())


if __name__ == "__main__":
    sys.exit(main())
