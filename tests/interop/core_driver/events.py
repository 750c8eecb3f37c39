"""What the driver tells: one JSON object a line on the stdout that it was started with."""

# mypy: disable-error-code="import-not-found"

import json
import os
import sys
import threading
from typing import Any

from mephisto.abstractions.architects.channels.websocket_channel import WebsocketChannel
from mephisto.data_model.agent import Agent, OnboardingAgent
from mephisto.data_model.packet import Packet
from mephisto.data_model.unit import Unit
from mephisto.operations.client_io_handler import ClientIOHandler

__all__ = ["Events"]


class Events:
    """The line of events; mephisto's own prints, and its servers', go to stderr instead."""

    def __init__(self) -> None:
        self._lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(sys.stderr.fileno(), 1)
        self._lock = threading.Lock()
        self._stopping = False

    def tell(self, event: str, **facts: Any) -> None:
        """Write one event; may be called from any of mephisto's threads."""
        with self._lock:
            print(json.dumps({"event": event, **facts}), file=self._lines, flush=True)

    def stopping(self) -> None:
        """Say that what follows is the shutdown: units that end now were not worked on."""
        self._stopping = True
        self.tell("stopping")

    def unit_completed(self, unit: Unit) -> None:
        """Tell what a unit's agent ended as and what the core stored; for `on_unit_submitted`."""
        if self._stopping:
            return
        agent = unit.get_assigned_agent()
        if agent is None:
            self.tell("unit_released", unit=unit.db_id)
            return
        data = agent.state.get_data()
        self.tell(
            "unit_completed",
            unit=unit.db_id,
            agent=agent.get_agent_id(),
            status=agent.get_status(),
            data=data,
            folder=agent.get_data_dir(),
        )

    def watch(self) -> None:
        """Look on at the core's edges: each wrapper calls the real method and tells what it saw."""
        handle = ClientIOHandler._on_message
        opened = ClientIOHandler._on_channel_open
        enqueue = WebsocketChannel.enqueue_send

        def on_message(io: ClientIOHandler, packet: Packet, channel_id: str) -> None:
            seen = json.loads(json.dumps(packet.to_sendable_dict()))
            try:
                handle(io, packet, channel_id)
            except Exception as error:
                self.tell("refused", **seen, error=repr(error))
                raise
            self.tell("received", **seen)

        def on_channel_open(io: ClientIOHandler, channel_id: str) -> None:
            self.tell("connected", channel=channel_id)
            opened(io, channel_id)

        def enqueue_send(channel: WebsocketChannel, packet: Packet) -> bool:
            took: bool = enqueue(channel, packet)
            if took:
                self.tell("sent", **packet.to_sendable_dict())
            return took

        ClientIOHandler._on_message = on_message
        ClientIOHandler._on_channel_open = on_channel_open
        WebsocketChannel.enqueue_send = enqueue_send
        for kind in (Agent, OnboardingAgent):
            self._watch_statuses(kind)

    def _watch_statuses(self, kind: Any) -> None:
        update = kind.update_status

        def update_status(agent: Any, new_status: str) -> None:
            before = agent.db_status
            update(agent, new_status)
            if agent.db_status != before:
                self.tell("status", agent=agent.get_agent_id(), status=agent.db_status)

        kind.update_status = update_status
