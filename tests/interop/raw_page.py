"""A page in plain Python: what upstream's npm page sends, one call for each thing that it does."""

import json
import time
import uuid
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import httpx
from websockets.sync.client import ClientConnection, connect

from .processes import PATIENCE

__all__ = ["Packet", "RawPage"]

Packet = dict[str, Any]


class RawPage:
    """One worker's page at a router."""

    def __init__(self, url: str, worker: str, assignment: str = "assignment") -> None:
        self.worker = worker
        self.assignment = assignment
        self.agent_id = ""
        self.packets: list[Packet] = []
        """Everything that came down the socket, in order."""
        self._http = httpx.Client(base_url=url, timeout=PATIENCE, trust_env=False)
        self._socket_url = url.replace("http://", "ws://", 1)
        self._socket: ClientConnection | None = None
        self._open_socket = ExitStack()

    def task_config(self, version: str) -> Packet:
        """Fetch the configuration as a page of that npm version does when it loads."""
        found: Packet = self._get("/task_config.json", mephisto_task_version=version).json()
        return found

    def download(self, name: str) -> bytes:
        """Fetch an uploaded file."""
        return self._get(f"/download_file/{name}").content

    def _get(self, path: str, **query: str) -> httpx.Response:
        return self._http.get(path, params=query or None).raise_for_status()

    def request_agent(self) -> Packet:
        """Register; return the answer's data and take the agent id from it."""
        registration = {
            "worker_name": self.worker,
            "agent_registration_id": f"{self.assignment}-{self.worker}",
            "assignment_id": self.assignment,
            "provider_type": "mock",
        }
        return self._take(self._post("/request_agent", provider_data=registration))

    def submit_onboarding(self, data: Packet) -> Packet:
        """Submit the onboarding; the answer names the agent to go on with, or none."""
        submission = {"USED_AGENT_ID": self.agent_id, "onboarding_data": data}
        return self._take(self._post("/submit_onboarding", provider_data=submission))

    def submit_task(self, data: Packet) -> None:
        """Submit the unit."""
        self._post("/submit_task", USED_AGENT_ID=self.agent_id, final_data=data)

    def upload_task(self, data: Packet, files: dict[str, bytes]) -> None:
        """Submit the unit as a form with files, and without a timestamp, as HTML tasks do."""
        form = {"USED_AGENT_ID": self.agent_id, "final_string_data": json.dumps(data)}
        parts = [("attachment", (name, content)) for name, content in files.items()]
        self._http.post("/submit_task", data=form, files=parts).raise_for_status()

    def submit_metadata(self, metadata: Packet) -> None:
        """Submit a tip or feedback."""
        self._post("/submit_metadata", USED_AGENT_ID=self.agent_id, metadata=metadata)

    def log_error(self, error: Packet) -> None:
        """Report an error of the page."""
        self._post("/log_error", USED_AGENT_ID=self.agent_id, error_data=error)

    def _post(self, path: str, **body: Any) -> httpx.Response:
        answer = self._http.post(path, json={**body, "client_timestamp": time.time()})
        return answer.raise_for_status()

    def _take(self, answer: httpx.Response) -> Packet:
        packet: Packet = answer.json()
        assert packet["packet_type"] == "agent_details"
        details: Packet = packet["data"]
        self.agent_id = details["agent_id"] or ""
        return details

    def connect(self) -> None:
        """Open the socket and say who it is for; a heartbeat follows, as from the npm page."""
        opening = connect(self._socket_url, open_timeout=PATIENCE, proxy=None)
        self._socket = self._open_socket.enter_context(opening)
        self._send("alive", {"update_id": self._update_id()})
        self._send("heartbeat", None)

    def disconnect(self) -> None:
        """Close the socket, as a closed tab does."""
        self._open_socket.close()
        self._socket = None

    def say(self, data: Packet) -> None:
        """Send a live update to the core."""
        self._send("mephisto_bound_live_update", {**data, "update_id": self._update_id()})

    def wait_for_status(self, status: str) -> None:
        """Read until the core's status for this agent is that one."""
        self._wait_for("update_status", {"status": status})

    def wait_for_update(self, **facts: Any) -> Packet:
        """Read until a live update has these facts; return its data."""
        data: Packet = self._wait_for("client_bound_live_update", facts)["data"]
        return data

    def _update_id(self) -> str:
        return f"{self.worker}-{uuid.uuid4().hex}"

    def _send(self, packet_type: str, data: Packet | None) -> None:
        assert self._socket is not None
        packet: Packet = {"packet_type": packet_type, "subject_id": self.agent_id}
        if data is not None:
            packet["data"] = data
        self._socket.send(json.dumps({**packet, "client_timestamp": time.time()}))

    def _wait_for(self, packet_type: str, facts: Packet) -> Packet:
        """Look at what came, then read on; a packet that never comes fails with what did."""
        for earlier in self.packets:
            if _matches(earlier, packet_type, facts):
                return earlier
        assert self._socket is not None
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                text = self._socket.recv(timeout=max(0.0, deadline - time.monotonic()))
            except TimeoutError:
                came = [(other["packet_type"], other.get("data")) for other in self.packets]
                raise AssertionError(
                    f"{self.worker} waited for {packet_type} {facts}; what came: {came}"
                ) from None
            packet: Packet = json.loads(text)
            self.packets.append(packet)
            if _matches(packet, packet_type, facts):
                return packet

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open_socket.close()
        self._http.close()


def _matches(packet: Packet, packet_type: str, facts: Packet) -> bool:
    data = packet.get("data") or {}
    return packet["packet_type"] == packet_type and all(
        data.get(key) == value for key, value in facts.items()
    )
