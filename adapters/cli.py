"""The command line: reads arguments, then makes one call.

Exit codes: 0 good, 1 the thing that was checked is bad, 2 wrong use. Wrong use is answered with
one line on stderr.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from statecore.adapters.asgi import StatecoreApp
from statecore.adapters.asgi_body import BodyLimits
from statecore.adapters.driver import Driver
from statecore.adapters.mephisto_router import FolderError, write_router
from statecore.adapters.serve import ServeError, ServerOptions
from statecore.adapters.serve import run as run_server
from statecore.router import RouterCore
from statecore.settings import RouterOptions

__all__ = ["app", "main"]

_DEFAULT = RouterOptions()
_LIMITS = BodyLimits()
_SERVER = ServerOptions()
_NO_PAGES = "no --static: pages are not served, only the router's own routes"

Host = Annotated[str, typer.Option(help="The address to listen on.")]
Port = Annotated[
    int, typer.Option(min=0, max=65_535, help="The port; 0 takes a free one.", envvar="PORT")
]
Grace = Annotated[
    float, typer.Option(min=0.0, help="Seconds that an agent may be without its socket.")
]

app = typer.Typer(
    name="statecore",
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"statecore {version_of('statecore')}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """An explicit, checkable state machine for Mephisto's Architect API."""


@app.command()
def serve(
    host: Host = _SERVER.host,
    port: Port = _SERVER.port,
    static: Annotated[
        Path | None,
        typer.Option(
            exists=True, file_okay=False, help="The folder with the page and task_config.json."
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="The folder for what the router keeps: uploaded files."),
    ] = None,
    uploads: Annotated[
        Path | None,
        typer.Option(
            file_okay=False,
            help="The folder for uploaded files: by default DATA/uploads, or the system's "
            "temporary folder, where Mephisto's LocalArchitect looks for them.",
        ),
    ] = None,
    task_version: Annotated[
        str | None,
        typer.Option(help="The mephisto-task version to expect instead of task_config.json's."),
    ] = None,
    system_token: Annotated[
        str | None,
        typer.Option(
            envvar="STATECORE_SYSTEM_TOKEN",
            help="What the core must present as a bearer token; without one, a core must come "
            "from this machine, without Origin and forwarding headers.",
        ),
    ] = None,
    grace: Grace = _DEFAULT.grace,
    heartbeat_limit: Annotated[
        float, typer.Option(min=0.1, help="Seconds that a socket may be silent.")
    ] = _DEFAULT.heartbeat_limit,
    request_wait: Annotated[
        float, typer.Option(min=0.0, help="Seconds that a POST waits for the core's answer.")
    ] = _DEFAULT.request_wait,
    held_polls: Annotated[
        int, typer.Option(min=1, help="Polls of the core that an early live update is held.")
    ] = _DEFAULT.held_polls,
    held_updates: Annotated[
        int, typer.Option(min=0, help="Live updates of one agent that are held.")
    ] = _DEFAULT.held_updates,
    mailbox_packets: Annotated[
        int, typer.Option(min=1, help="Packets that wait for one page.")
    ] = _DEFAULT.mailbox_packets,
    mailbox_bytes: Annotated[
        int, typer.Option(min=1, help="Bytes that wait for one page.")
    ] = _DEFAULT.mailbox_bytes,
    outbox_bytes: Annotated[
        int, typer.Option(min=1, help="Bytes that wait for the core.")
    ] = _DEFAULT.outbox_bytes,
    core_limit: Annotated[
        int, typer.Option(min=1, help="Bytes of the largest packet to the core.")
    ] = _DEFAULT.core_limit,
    error_limit: Annotated[
        int, typer.Option(min=1, help="Bytes of the largest log_error.")
    ] = _DEFAULT.error_limit,
    frame_limit: Annotated[
        int, typer.Option(min=1, help="Bytes of the largest frame or JSON body that is read.")
    ] = _DEFAULT.frame_limit,
    upload_limit: Annotated[
        int, typer.Option(min=1, help="Bytes of the largest form, files included.")
    ] = _LIMITS.form,
    queue_bytes: Annotated[
        int, typer.Option(min=1, help="Bytes that may wait for a slow WebSocket peer.")
    ] = 16 << 20,
    pending_requests: Annotated[
        int, typer.Option(min=1, help="POSTs that may wait for the core at once.")
    ] = _DEFAULT.pending_requests,
    unknown_agents: Annotated[
        int, typer.Option(min=0, help="Agents kept that only a page has named.")
    ] = _DEFAULT.unknown_agents,
    finished_kept: Annotated[
        float, typer.Option(min=0.1, help="Seconds that the end of an agent is remembered.")
    ] = _DEFAULT.finished_kept,
    finished_agents: Annotated[
        int, typer.Option(min=0, help="Ended agents that are remembered at most.")
    ] = _DEFAULT.finished_agents,
    deflate: Annotated[bool, typer.Option(help="Offer permessage-deflate.")] = False,
    shutdown_wait: Annotated[
        float, typer.Option(min=0.0, help="Seconds that open requests have at the end.")
    ] = _SERVER.shutdown_wait,
) -> None:
    """Run the router alone."""
    options = RouterOptions(
        system_token=system_token,
        grace=grace,
        heartbeat_limit=heartbeat_limit,
        request_wait=request_wait,
        held_polls=held_polls,
        held_updates=held_updates,
        mailbox_packets=mailbox_packets,
        mailbox_bytes=mailbox_bytes,
        outbox_bytes=outbox_bytes,
        core_limit=core_limit,
        error_limit=error_limit,
        frame_limit=frame_limit,
        pending_requests=pending_requests,
        unknown_agents=unknown_agents,
        finished_kept=finished_kept,
        finished_agents=finished_agents,
    )
    if uploads is None and data is not None:
        uploads = data / "uploads"
    try:
        router = StatecoreApp(
            Driver(RouterCore(options)),
            static=static,
            uploads=uploads,
            task_version=task_version,
            limits=BodyLimits(body=frame_limit, form=upload_limit),
            queue_limit=queue_bytes,
        )
    except OSError as error:
        raise typer.BadParameter(
            f"{error.filename}: {error.strerror}", param_hint="--data or --uploads"
        ) from None
    run_server(
        router,
        [router],
        ServerOptions(
            host=host,
            port=port,
            frame_limit=frame_limit,
            deflate=deflate,
            shutdown_wait=shutdown_wait,
        ),
        hint=_NO_PAGES if static is None else "",
    )


@app.command()
def demo(
    host: Host = _SERVER.host,
    port: Port = _SERVER.port,
    grace: Grace = _DEFAULT.grace,
) -> None:
    """Run two demonstration tasks, a chat and a labelling task, with all that they need."""
    from statecore.adapters.demo.app import run_demo

    run_demo(host, port, RouterOptions(grace=grace))


@app.command()
def diagram(
    target: Annotated[
        str | None,
        typer.Argument(help="MODULE:ATTRIBUTE; without it, the built-in lifecycle."),
    ] = None,
    format: Annotated[str, typer.Option(help="The picture's language.")] = "mermaid",  # noqa: A002
    output: Annotated[
        Path | None, typer.Option("--output", "-o", dir_okay=False, help="Instead of stdout.")
    ] = None,
) -> None:
    """Draw a lifecycle, or any transitions machine."""
    from statecore.diagrams import DiagramError, draw

    try:
        picture = draw(target, format)
        if output is not None:
            output.write_text(picture, encoding="utf-8")
    except DiagramError as error:
        raise typer.BadParameter(str(error)) from None
    except OSError as error:
        raise typer.BadParameter(f"{output}: {error.strerror}", param_hint="--output") from None
    if output is None:
        print(picture, end="")


@app.command("mephisto-router")
def mephisto_router(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to write.")],
    host: Annotated[
        str, typer.Option(help="The address that the router will listen on.")
    ] = "0.0.0.0",  # as upstream's own routers do: workers come from elsewhere
) -> None:
    """Write the folder that an unmodified Mephisto takes as its router."""
    folder = folder.absolute()
    write_router(folder, host=host)
    # Not through Rich: these lines are to be copied, so they must not be wrapped.
    print(f"wrote {folder}; run Mephisto with")
    print(f"  mephisto.architect.server_type=flask mephisto.architect.server_source_path={folder}")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit with its code."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    command = typer.main.get_command(app)
    try:
        code = command.main(
            args=arguments or ["--help"], prog_name="statecore", standalone_mode=False
        )
        sys.exit(code if arguments else 2)
    except typer.TyperException as error:
        _complain(f"{error.format_message()} (statecore --help lists what there is)", 2)
    except (FolderError, ServeError) as error:
        _complain(str(error), 2)


def _complain(text: str, code: int) -> NoReturn:
    """One line on stderr, without a box, whatever the width of the terminal."""
    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)
    console.print("statecore:", " ".join(text.split()))
    sys.exit(code)
