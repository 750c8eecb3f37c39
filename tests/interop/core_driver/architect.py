"""An architect for a router that already runs: it fills the router's static folder and connects."""

# mypy: disable-error-code="import-not-found,import-untyped,misc,no-untyped-call,untyped-decorator"

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from mephisto.abstractions.architects.local_architect import LocalArchitect, LocalArchitectArgs
from mephisto.abstractions.architects.router import build_router
from mephisto.operations.registry import register_mephisto_abstraction
from omegaconf import MISSING

__all__ = ["RunningRouterArchitect", "RunningRouterArgs"]

TYPE = "interop_running_router"


@dataclass
class RunningRouterArgs(LocalArchitectArgs):
    _architect_type: str = TYPE
    hostname: str = "127.0.0.1"
    static: str = MISSING


@register_mephisto_abstraction()
class RunningRouterArchitect(LocalArchitect):
    """Upstream's local architect, without starting a server.

    `prepare` is upstream's: it builds the folder that a router would be started from, with
    task_config.json, wrap_crowd_source.js, index.html and the bundle. `deploy` copies the static
    part of it to where the running router serves from.
    """

    ArgsClass = RunningRouterArgs
    ARCHITECT_TYPE = TYPE

    def __init__(self, db: Any, args: Any, shared_state: Any, task_run: Any, build: str) -> None:
        super().__init__(db, args, shared_state, task_run, build)
        self.static = Path(args.architect.static)
        # Named as the source, upstream's folder is copied without an `npm install` in the package.
        self.server_source_path = build_router.NODE_SERVER_SOURCE_ROOT

    def deploy(self) -> str:
        """Put the built static files where the router serves them, and say its address."""
        shutil.copytree(f"{self.server_dir}/static", self.static, dirs_exist_ok=True)
        return f"http://{self.hostname}:{self.port}"

    def download_file(self, target_filename: str, save_dir: str) -> None:
        """Fetch an upload from the router, as upstream's EC2 and Heroku architects do."""
        url = f"http://{self.hostname}:{self.port}/download_file/{target_filename}"
        answer = requests.get(url, timeout=30)
        answer.raise_for_status()
        (Path(save_dir) / target_filename).write_bytes(answer.content)

    def shutdown(self) -> None:
        """Leave the router alone: whoever started it ends it."""
