r"""What one side sends as data is what the other side gets, to the byte.

A router relays, it does not read. A number that passes through a float or a text that passes through a
decoder comes out as another one, and JSON has more spellings than one: 1.10, 1e400, "\/", "\ud83d".
"""

from __future__ import annotations

import anyio
import pytest

from .peers import Core, Page, Router

pytestmark = pytest.mark.anyio

# JSON objects as they are spelt on the wire.
PAYLOADS = {
    "empty": "{}",
    "spaced": '{ "a" :\t[ 1 ,2,\n 3 ] , "b": { } }',
    "order": '{"z": 1, "a": 2, "m": 3, "A": 4, "": 5}',
    "repeated key": '{"a": 1, "a": 2}',
    "literals": '{"a": [null, true, false, "", [], {}]}',
    "big integers": '{"a": 9007199254740993, "b": -18446744073709551617, "c": 1%s}' % ("0" * 4_000),
    "longest integer": '{"a": %s}' % ("7" * 4_300),
    "floats": '{"a": 1.10, "b": -0.0, "c": 1E+2, "d": 1e-7, "e": 0.1000000000000000055511151231257827}',
    "vast floats": '{"a": 1e400, "b": -1e400, "c": 5e-324, "d": 1e-400}',
    "long fraction": '{"a": 0.%s}' % ("3" * 6_000),
    "unicode": '{"größe": "日本語 🌿 \u2028 \u00a0 é é", "😀": "\x7f"}',
    "escapes": r'{"a": "\u00fc\u00FC\/\b\f\n\r\t\\\"\u0000\u001f\u2028"}',
    "surrogate pair": r'{"a": "\ud83c\udf3f", "\ud83c\udf3f": "🌿"}',
    "lone surrogate": r'{"a": "half \ud83d", "b": "\uDC00\ud83d", "c": "\\ud83d", "d": ""}',
    "lone surrogate key": r'{"\ud83d": 1}',
    "nested": '{"a": %s}' % ("[" * 400 + '{"b": 1}' + "]" * 400),
    "brackets in text": '{"a": "%s"}' % ("[{" * 2_000),
    "digits in text": '{"a": "%s"}' % ("1" * 10_000),
    "looks like a packet": '{"packet_type": "alive", "subject_id": "mephisto", "data": {"data": {}}}',
    "html": '{"a": "</script><!--", "b": "%00../..", "c": "\x7f"}',
    "0.9 MB": '{"a": "%s"}' % ("ä🌿x" * 128_571),
    "0.9 MB of numbers": '{{"a": [{}]}}'.format(",".join(str(n * 0.5) for n in range(115_000))),
}

FRAME = '{{"packet_type": "{}", "data": {}, "subject_id": "1", "client_timestamp": 1.5}}'


def holds(text: str, key: str, data: str) -> bool:
    """Whether the packet has exactly this under the key; a failure need not print a megabyte."""
    return f'"{key}":{data},' in text


@pytest.fixture
async def page(router: Router, core: Core) -> Page:
    return await router.seated(core, "1")


@pytest.mark.parametrize("name", PAYLOADS)
async def test_live_updates_pass_to_the_byte(core: Core, page: Page, name: str) -> None:
    """Section 1, live updates, and section 3: what is fine for the core passes unchanged."""
    data = PAYLOADS[name]
    for sender, receiver, packet_type in (
        (page, core, "mephisto_bound_live_update"),
        (core, page, "client_bound_live_update"),
    ):
        await sender.send_text(FRAME.format(packet_type, data))
        packet = await receiver.receive(packet_type)
        assert holds(packet.text, "data", data)


@pytest.mark.parametrize("name", PAYLOADS)
async def test_posted_data_passes_to_the_byte(
    router: Router, core: Core, page: Page, name: str
) -> None:
    """Section 1, submit_unit, and section 2: final_data as JSON in the body."""
    data = PAYLOADS[name]
    body = f'{{"USED_AGENT_ID": "1", "final_data": {data}, "client_timestamp": 1.5}}'
    headers = {"Content-Type": "application/json"}
    response = await router.http.post("/submit_task", content=body.encode(), headers=headers)
    assert response.status_code == 200, response.text
    packet = await core.receive("submit_unit")
    assert holds(packet.text, "data", data)


@pytest.mark.parametrize("name", PAYLOADS)
async def test_data_in_a_form_passes_to_the_byte(
    router: Router, core: Core, page: Page, name: str
) -> None:
    """Section 2: final_string_data as JSON text in a form."""
    data = PAYLOADS[name]
    form = [("USED_AGENT_ID", (None, "1")), ("final_string_data", (None, data))]
    response = await router.http.post("/submit_task", files=form)
    assert response.status_code == 200, response.text
    packet = await core.receive("submit_unit")
    assert holds(packet.text, "data", data)


@pytest.mark.parametrize("name", [name for name in PAYLOADS if "MB" not in name])
async def test_answers_to_registrations_pass_to_the_byte(
    router: Router, core: Core, name: str
) -> None:
    """Section 2: the whole agent_details packet; provider_data on the way there."""
    data = PAYLOADS[name]
    provider = f'{{"worker_name": "ada", "agent_registration_id": "hit", "x": {data}}}'
    later = router.start_post(
        "/request_agent",
        content=f'{{"provider_data": {provider}}}'.encode(),
        headers={"Content-Type": "application/json"},
    )
    asked = await core.receive("register_agent")
    assert holds(asked.text, "provider_data", provider)
    answer = f'{{"request_id": "{asked.subject_id}", "agent_id": "1", "init_task_data": {data}}}'
    await core.send_text(FRAME.format("agent_details", answer))
    response = await later.response()
    assert holds(response.text, "data", answer)


@pytest.mark.parametrize("data", ["[1, 2]", '"text"', "3.10", "null", "true"])
async def test_final_data_may_be_any_json(router: Router, core: Core, data: str) -> None:
    """Section 1, submit_unit: the page's final_data, whatever it is."""
    await router.register(core, "1")
    body = f'{{"USED_AGENT_ID": "1", "final_data": {data}}}'.encode()
    headers = {"Content-Type": "application/json"}
    response = await router.http.post("/submit_task", content=body, headers=headers)
    assert response.status_code == 200, response.text
    assert holds((await core.receive("submit_unit")).text, "data", data)


@pytest.mark.parametrize("size", [1_000, 9_000, 70_000, 300_000])
async def test_bursts_of_large_payloads_come_whole_and_in_order(
    router: Router, core: Core, page: Page, size: int
) -> None:
    """Both ways at once, more than any buffer on the way holds: nothing is mixed up or lost."""
    count = max(12, 6_000_000 // size // 4)
    texts = [f'{{"update_id":"{n}","fill":"{chr(97 + n % 26) * size}"}}' for n in range(count)]

    async def talk(sender: Page | Core, packet_type: str) -> None:
        for text in texts:
            await sender.send_text(FRAME.format(packet_type, text))

    async def listen(receiver: Page | Core) -> None:
        for text in texts:
            assert holds((await receiver.packet()).text, "data", text)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(talk, page, "mephisto_bound_live_update")
        tasks.start_soon(talk, core, "client_bound_live_update")
        tasks.start_soon(listen, core)
        tasks.start_soon(listen, page)


async def test_burst_to_a_page_that_reads_late_comes_whole(core: Core, page: Page) -> None:
    """S3: the page reads nothing until all was sent; the core's socket is not held up by it."""
    texts = [f'{{"update_id":"{n}","fill":"{"x" * 20_000}"}}' for n in range(400)]
    for text in texts:
        await core.send_text(FRAME.format("client_bound_live_update", text))
    await core.poll()
    for text in texts:
        assert holds((await page.packet()).text, "data", text)
