"""``make bench``: the router's figures, each with what a bare relay does in the same minute.

    python tests/benchmarks/bench.py [--quick] [--profile] [--only NAME ...]

The router is the real program in a process of its own; a generator in another plays every page and
the core. The machine is shared and noisy, so rounds of relay and router alternate, the median of
the rounds counts, and the ratio says more than the figure. Exits with 1 when anything went wrong on
the way: a lost or doubled message, a complaint, a socket that closed.
"""

from __future__ import annotations

import argparse
import json
import os
import pstats
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import micro
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
ROUTER = [sys.executable, "-m", "statecore", "serve", "--port", "0"]
RELAY = [sys.executable, str(HERE / "relay.py")]

ENOUGH_ROUND_TRIPS = 10_000  # per second
ENOUGH_P50 = 1.0  # milliseconds, at 500 a second

console = Console()


class Server:
    """A running server and the processor time that it has used."""

    def __init__(self, process: subprocess.Popen[str], address: str) -> None:
        self._process = process
        self.address = address

    def cpu(self) -> float:
        """Seconds of processor time so far; a busy machine does not change them much."""
        stat = Path(f"/proc/{self._process.pid}/stat").read_text()
        user, system = stat.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


@contextmanager
def running(command: list[str]) -> Iterator[Server]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if "listening on" not in line:
            raise SystemExit(f"the server did not start: {' '.join(command)}")
        yield Server(process, line.split("//")[1].strip())
    finally:
        process.terminate()
        process.wait(30)


def load(server: Server, scenario: str, *flags: str, **values: float) -> dict[str, Any]:
    """One run of the generator; its figures, and the server's processor seconds."""
    command = [sys.executable, str(HERE / "load.py"), scenario, server.address, *flags]
    before = server.cpu()
    done = subprocess.run(
        [*command, *(f"{name}={value}" for name, value in values.items())],
        stdout=subprocess.PIPE,
        text=True,
        timeout=300,
    )
    if done.returncode:
        raise SystemExit(f"{scenario}: the generator gave up (see above)")
    figures: dict[str, Any] = json.loads(done.stdout)
    return {**figures, "cpu": server.cpu() - before}


class Bench:
    """The rows of the table, and what went wrong."""

    def __init__(self, *, quick: bool) -> None:
        self.rounds = 1 if quick else 3
        self.seconds = 2.0 if quick else 4.0
        self.table = Table(
            title="statecore's router",
            title_justify="left",
            caption="The relay is faster than the generator, so its round trips/s are the generator's"
            " limit: the processor time is the fairer ratio. It includes registering and connecting.",
            caption_justify="left",
        )
        for column in ("measured", "router", "bare relay", "ratio", "target"):
            self.table.add_column(column, justify="left" if column == "measured" else "right")
        self.errors: list[str] = []

    def row(
        self, name: str, router: str, relay: str = "", ratio: str = "", target: str = ""
    ) -> None:
        self.table.add_row(name, router, relay, ratio, target)

    def judge(self, scenario: str, *runs: dict[str, Any]) -> None:
        for run in runs:
            self.errors += [f"{scenario}: {what} ({n} times)" for what, n in run["errors"].items()]

    def pairs_of_runs(
        self, scenario: str, **values: float
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Alternating runs against a fresh relay and a fresh router."""
        relay, router = [], []
        for _ in range(self.rounds):
            with running(RELAY) as server:
                relay.append(load(server, scenario, "--bare", **values))
            with running(ROUTER) as server:
                router.append(load(server, scenario, **values))
        self.judge(scenario, *relay, *router)
        return relay, router

    def throughput(self) -> None:
        for size, name in ((20, "small"), (10_000, "10 kB")):
            in_flight = 2_000 if size == 20 else 400
            relay, router = self.pairs_of_runs(
                "throughput", agents=500, in_flight=in_flight, seconds=self.seconds, size=size
            )
            mine, bare = (
                statistics.median(run["rate"] for run in runs) for runs in (router, relay)
            )
            target = _target(mine >= ENOUGH_ROUND_TRIPS, f">= {ENOUGH_ROUND_TRIPS:,}")
            self.row(
                f"round trips/s, {name}, 500 agents, {in_flight:,} in flight",
                f"{mine:,.0f}",
                f"{bare:,.0f}",
                f"{mine / bare:.2f}",
                target if size == 20 else "",
            )
            cpu = [
                statistics.median(run["cpu"] / run["round_trips"] * 1e6 for run in runs)
                for runs in (router, relay)
            ]
            self.row(
                f"  processor us a round trip, {name}",
                f"{cpu[0]:,.1f}",
                f"{cpu[1]:,.1f}",
                f"{cpu[0] / cpu[1]:.2f}",
            )

    def latency(self) -> None:
        relay, router = self.pairs_of_runs("latency", agents=500, rate=500, seconds=self.seconds)
        for share in ("p50", "p99"):
            mine, bare = (statistics.median(run[share] for run in runs) for runs in (router, relay))
            target = _target(mine < ENOUGH_P50, f"< {ENOUGH_P50:g}") if share == "p50" else ""
            self.row(
                f"{share} in ms at 500/s, open loop",
                f"{mine:.2f}",
                f"{bare:.2f}",
                f"{mine / bare:.1f}",
                target,
            )

        worst = max(run["late_p99"] for run in (*router, *relay))
        self.row("  p99 in ms by which the generator itself was late", f"{worst:.2f}")

    def many(self) -> None:
        with running(ROUTER) as server:
            run = load(server, "many", agents=2_000)
        self.judge("many", run)
        if run["wrong_status"]:
            self.errors.append(f"many: {run['wrong_status']} pages with a wrong status")
        self.row(
            "agents connected at once",
            f"{run['agents']:,}",
            target=_target(run["agents"] >= 2_000, "2,000"),
        )
        self.row("  seconds to register all by POST", f"{run['register']:.2f}")
        self.row("  seconds to open all sockets", f"{run['connect']:.2f}")
        self.row("  seconds for a round trip each", f"{run['round_trip_each']:.2f}")

    def chat(self) -> None:
        with running(ROUTER) as server:
            task = subprocess.Popen(
                [sys.executable, str(HERE / "chat_task.py"), f"http://{server.address}"]
            )
            try:
                run = load(server, "pairs", "--has-core", pairs=200, turns=20)
            finally:
                task.terminate()
                task.wait(30)
        self.judge("pairs", run)
        errors = sum(run["errors"].values())
        self.row("chat pairs with our task server, 20 turns each, then submit", f"{run['pairs']}")
        self.row("  errors", f"{errors}", target=_target(not errors, "0"))
        self.row("  messages/s", f"{run['messages'] / run['seconds']:,.0f}")

    def engine(self) -> None:
        for kind, cost in micro.measure(0.2 if self.rounds == 1 else 0.5).items():
            self.row(f"RouterCore.receive alone, us: {kind}", f"{cost:.1f}")


def _target(is_met: bool, target: str) -> str:
    return f"[{'green' if is_met else 'red'}]{target}[/]"


def profile(seconds: float) -> None:
    """Where the time goes: in the engine alone, then in the whole server under load."""
    console.rule("the engine alone, a live update there and back")
    print(micro.profile())
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "router.prof"
        command = [sys.executable, "-m", "cProfile", "-o", str(written), *ROUTER[1:]]
        with running(command) as server:
            load(server, "throughput", agents=500, in_flight=2_000, seconds=seconds, size=20)
        console.rule("the server under 2,000 round trips in flight (cProfile slows it down)")
        pstats.Stats(str(written)).sort_stats("tottime").print_stats(35)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = ["throughput", "latency", "many", "chat", "engine"]
    parser.add_argument("--quick", action="store_true", help="one short round of everything")
    parser.add_argument("--profile", action="store_true", help="show where the time goes instead")
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    options = parser.parse_args()
    bench = Bench(quick=options.quick)
    if options.profile:
        profile(bench.seconds)
        return 0
    for name in options.only:
        with console.status(name):
            getattr(bench, name)()
    console.print(bench.table)
    for error in bench.errors:
        console.print(f"[red]{error}[/]")
    return 1 if bench.errors else 0


if __name__ == "__main__":
    sys.exit(main())
