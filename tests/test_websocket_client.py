from __future__ import annotations

import os
import ssl
import subprocess
from pathlib import Path

import anyio
import pytest
from websockets.frames import Frame, Opcode
from wire_server import ServerSide, serve_websockets

from statecore.adapters.websocket_client import WebSocket, WebSocketError, open_websocket

pytestmark = pytest.mark.anyio


async def echo(side: ServerSide) -> None:
    while (text := await side.receive_text()) is not None:
        await side.send(text)


async def collect(socket: WebSocket) -> list[str | bytes]:
    return [message async for message in socket]


async def test_messages_come_back_in_order_whatever_their_size() -> None:
    texts = ["a", "ü" * 70_000, "x" * 900_000, "", "😀", *map(str, range(200))]
    with anyio.fail_after(20):
        async with serve_websockets(echo) as url, open_websocket(url) as socket:
            got = []
            async with anyio.create_task_group() as tasks:

                async def send() -> None:
                    for text in texts:
                        await socket.send(text)

                tasks.start_soon(send)
                async for message in socket:
                    got.append(message)
                    if len(got) == len(texts):
                        break
            assert got == texts


async def test_headers_are_sent_and_no_origin() -> None:
    seen: list[dict[str, str]] = []

    async def talk(side: ServerSide) -> None:
        assert side.request is not None
        seen.append({name.lower(): value for name, value in side.request.headers.raw_items()})
        await side.close()
        await side.receive()

    with anyio.fail_after(10):
        async with (
            serve_websockets(talk) as url,
            open_websocket(url, headers={"Authorization": "Bearer s3cret"}) as socket,
        ):
            assert await collect(socket) == []
    assert seen[0]["authorization"] == "Bearer s3cret"
    assert "origin" not in seen[0]
    assert "sec-websocket-extensions" not in seen[0]


async def test_a_close_by_the_server_ends_the_messages_and_says_why() -> None:
    async def talk(side: ServerSide) -> None:
        await side.send("last words")
        await side.close(4001, "a newer tab is open")
        await side.receive()

    with anyio.fail_after(10):
        async with serve_websockets(talk) as url, open_websocket(url) as socket:
            assert await collect(socket) == ["last words"]
            assert (socket.close_code, socket.close_reason) == (4001, "a newer tab is open")
            with pytest.raises(WebSocketError, match="closed the connection with 4001: a newer"):
                await socket.send("too late")
            with pytest.raises(WebSocketError):
                await socket.ping("too late")
            await socket.close()  # closed is closed


async def test_a_lost_connection_is_an_error_after_the_messages_before_it() -> None:
    async def talk(side: ServerSide) -> None:
        await side.send("hello")
        await side.receive()
        await side.cut()

    with anyio.fail_after(10):
        async with serve_websockets(talk) as url, open_websocket(url) as socket:
            assert await anext(socket) == "hello"
            await socket.send("go on")
            with pytest.raises(WebSocketError, match=r"127\.0\.0\.1.*(lost|broke)"):
                await collect(socket)
            assert socket.close_code == 1006


async def test_leaving_the_block_closes_in_good_order() -> None:
    frames: list[Frame | None] = []
    gone = anyio.Event()

    async def talk(side: ServerSide) -> None:
        while (frame := await side.receive()) is not None:
            frames.append(frame)
        gone.set()

    with anyio.fail_after(10):
        async with serve_websockets(talk) as url:
            async with open_websocket(url) as socket:
                await socket.send("x")
            await gone.wait()
    assert frames[-1] is not None
    assert frames[-1].opcode is Opcode.CLOSE
    assert int.from_bytes(bytes(frames[-1].data)[:2], "big") == 1000


async def test_cancelling_the_block_says_going_away() -> None:
    codes: list[int] = []
    gone = anyio.Event()

    async def talk(side: ServerSide) -> None:
        while (frame := await side.receive()) is not None:
            if frame.opcode is Opcode.CLOSE:
                codes.append(int.from_bytes(bytes(frame.data)[:2], "big"))
        gone.set()

    with anyio.fail_after(10):
        async with serve_websockets(talk) as url:
            with anyio.CancelScope() as scope:
                async with (
                    open_websocket(url) as socket,
                    anyio.create_task_group() as tasks,
                ):
                    tasks.start_soon(collect, socket)
                    await anyio.wait_all_tasks_blocked()
                    scope.cancel()
            await gone.wait()
    assert codes == [1001]


async def test_a_cancelled_close_is_finished_by_the_end_of_the_block() -> None:
    codes: list[int] = []

    async def talk(side: ServerSide) -> None:
        while (frame := await side.receive()) is not None:
            if frame.opcode is Opcode.CLOSE:
                codes.append(int.from_bytes(bytes(frame.data)[:2], "big"))

    with anyio.fail_after(10):
        async with serve_websockets(talk) as url:
            async with open_websocket(url, close_timeout=60) as socket:
                with anyio.CancelScope() as scope:
                    scope.cancel()
                    await socket.close(1000, "bye")
            assert socket.close_code == 1000
    assert codes == [1000]


async def test_close_from_another_task_lets_the_reader_end() -> None:
    with anyio.fail_after(10):
        async with serve_websockets(echo) as url, open_websocket(url) as socket:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(collect, socket)
                await anyio.wait_all_tasks_blocked()
                await socket.close(1000, "done")
            assert socket.close_code == 1000


async def test_pings_are_answered_and_pongs_reported() -> None:
    pongs: list[str] = []
    answered = anyio.Event()

    async def talk(side: ServerSide) -> None:
        side.protocol.send_ping(b"are you there")
        await side.flush()
        while (frame := await side.receive()) is not None:
            if frame.opcode is Opcode.PONG:
                assert bytes(frame.data) == b"are you there"
                answered.set()
                await side.send("thanks")

    with anyio.fail_after(10):
        async with (
            serve_websockets(talk) as url,
            open_websocket(url, on_pong=pongs.append) as socket,
        ):
            await socket.ping("token-1")
            async for message in socket:
                assert message == "thanks"
                break
            await answered.wait()
    assert pongs == ["token-1"]


async def test_a_silent_server_gets_a_ping_and_then_counts_as_lost() -> None:
    pings: list[bytes] = []

    async def talk(side: ServerSide) -> None:
        # Reads the bytes and never answers, as a half-open connection would.
        while True:
            pings.append(await side.stream.receive())

    with anyio.fail_after(10):
        async with (
            serve_websockets(talk) as url,
            open_websocket(url, keepalive=0.05, close_timeout=0.05) as socket,
        ):
            with pytest.raises(WebSocketError, match=r"silent for 0\.1 s"):
                await collect(socket)
    assert pings


async def test_a_quiet_but_living_server_is_kept() -> None:
    """The keepalive's pong is a sign of life: the connection outlives many silences."""
    pings = 0

    async def talk(side: ServerSide) -> None:
        nonlocal pings
        while (frame := await side.receive()) is not None:
            if frame.opcode is Opcode.PING:
                pings += 1
                if pings == 4:
                    await side.send("still here")

    with anyio.fail_after(10):
        async with serve_websockets(talk) as url, open_websocket(url, keepalive=0.2) as socket:
            async for message in socket:
                assert message == "still here"
                break


async def test_fragments_are_put_together_and_binary_stays_bytes() -> None:
    async def talk(side: ServerSide) -> None:
        side.protocol.send_text(b"one ", fin=False)
        side.protocol.send_continuation("zwei ü".encode()[:-1], fin=False)
        side.protocol.send_continuation("ü".encode()[-1:], fin=True)
        side.protocol.send_binary(b"\x00\xff")
        side.protocol.send_close(1000)
        await side.flush()
        await side.receive()

    with anyio.fail_after(10):
        async with serve_websockets(talk) as url, open_websocket(url) as socket:
            assert await collect(socket) == ["one zwei ü", b"\x00\xff"]


@pytest.mark.parametrize(
    ("payload", "code", "words"),
    [(b"\xff\xfe", 1007, "not UTF-8"), (b"x" * 2_000, 1009, "2000")],
)
async def test_bad_messages_close_with_their_code(payload: bytes, code: int, words: str) -> None:
    codes: list[int] = []
    done = anyio.Event()

    async def talk(side: ServerSide) -> None:
        side.protocol.send_text(payload)
        await side.flush()
        frame = await side.receive()
        assert frame is not None
        codes.append(int.from_bytes(bytes(frame.data)[:2], "big"))
        done.set()

    with anyio.fail_after(10):
        async with (
            serve_websockets(talk) as url,
            open_websocket(url, max_size=1_000, close_timeout=0.2) as socket,
        ):
            with pytest.raises(WebSocketError, match=words):
                await collect(socket)
            await done.wait()
    assert codes == [code]


async def test_what_cannot_be_opened_says_why() -> None:
    with anyio.fail_after(20):
        with pytest.raises(WebSocketError, match="not a WebSocket address"):
            async with open_websocket("http://127.0.0.1/"):
                pass
        async with serve_websockets(echo, refuse_with=403) as url:
            with pytest.raises(WebSocketError, match="HTTP 403") as refused:
                async with open_websocket(url):
                    pass
            assert refused.value.status == 403
        with pytest.raises(WebSocketError, match="cannot connect"):
            async with open_websocket(url):  # nobody listens there any more
                pass


async def test_a_server_that_never_shakes_hands_times_out_or_ends() -> None:
    async def hold(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await anyio.sleep_forever()

    async def hang_up(stream: anyio.abc.SocketStream) -> None:
        await stream.receive()
        await stream.aclose()

    async def babble(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.send(b"220 mail.example.org ESMTP\r\n")
            await anyio.sleep_forever()

    for handler, words in (
        (hold, "no connection within 0.1 s"),
        (hang_up, "during the handshake"),
        (babble, "no WebSocket server"),
    ):
        with anyio.fail_after(10):
            listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
            port = listener.extra(anyio.abc.SocketAttribute.local_port)
            async with listener, anyio.create_task_group() as tasks:
                tasks.start_soon(listener.serve, handler)
                with pytest.raises(WebSocketError, match=words):
                    async with open_websocket(f"ws://127.0.0.1:{port}/", connect_timeout=0.1):
                        pass
                tasks.cancel_scope.cancel()


async def test_a_sender_cut_off_within_a_frame_is_the_last_one() -> None:
    release = anyio.Event()

    async def talk(side: ServerSide) -> None:
        await release.wait()  # reads nothing, so the sender's socket fills up

    with anyio.fail_after(10):
        async with serve_websockets(talk) as url:
            async with open_websocket(url, close_timeout=0.1) as socket:
                with anyio.move_on_after(0.1) as scope:
                    await socket.send("x" * 50_000_000)
                assert scope.cancelled_caught
                with pytest.raises(WebSocketError, match="cut off"):
                    await socket.send("y")
            release.set()


async def test_two_readers_are_a_mistake() -> None:
    with anyio.fail_after(10):
        async with (
            serve_websockets(echo) as url,
            open_websocket(url) as socket,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(collect, socket)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(RuntimeError, match="one task at a time"):
                await anext(socket)
            tasks.cancel_scope.cancel()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt"),
            *("ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", os.fspath(key), "-out", os.fspath(cert)),
        ],
        check=True,
        capture_output=True,
    )
    return key, cert


async def test_tls_works_and_an_unknown_certificate_is_refused(
    certificate: tuple[Path, Path],
) -> None:
    key, cert = certificate
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(cert, key)
    trusting = ssl.create_default_context(cafile=cert)
    with anyio.fail_after(20):
        async with serve_websockets(echo, tls=server) as url:
            async with open_websocket(url, ssl_context=trusting) as socket:
                await socket.send("x" * 300_000)
                assert await anext(socket) == "x" * 300_000
            with pytest.raises(WebSocketError, match="no secure connection"):
                async with open_websocket(url):
                    pass
