"""The task server of the chat benchmark: the demo's own chat, behind the router at this address."""

from __future__ import annotations

import logging
import sys

from statecore.adapters.demo.chat import chat
from statecore.adapters.task_server import run_task

if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)  # hundreds of submissions are no news here
    run_task(chat, sys.argv[1])
