from __future__ import annotations

import json

import pytest
from pages import page

from statecore.client import ClientCore
from statecore.client_events import (
    Answered,
    Attachment,
    Post,
    PostRefused,
    Register,
    ReportError,
    SubmitMetadata,
    SubmitOnboarding,
    SubmitUnit,
    Unanswered,
)
from statecore.errors import LocalProtocolError
from statecore.settings import ClientOptions

STATIC = ClientOptions(live=False, post_tries=3, pending_posts=2)

ACTIONS = [
    Register("p", {"worker_name": "ann"}),
    SubmitOnboarding("p", {}),
    SubmitUnit("p", {}),
    SubmitMetadata("p", {}),
    ReportError("p", {}),
]
ids = [type(action).__name__ for action in ACTIONS]


def asked(action: object) -> tuple[ClientCore, Post]:
    core = page(options=STATIC)
    [post] = core.receive(action)  # type: ignore[arg-type]  # the table above holds actions only
    assert isinstance(post, Post)
    return core, post


@pytest.mark.parametrize("action", ACTIONS, ids=ids)
@pytest.mark.parametrize(
    "event", [Unanswered("p", sent=False), Answered("p", 503), Answered("p", 429)]
)
def test_what_was_not_taken_is_sent_again_and_the_same(
    action: object, event: Answered | Unanswered
) -> None:
    core, post = asked(action)
    for attempt in (1, 2):
        [again] = core.receive(event)
        assert again == Post(post.post_id, post.route, post.body, attempt=attempt)
    assert isinstance(core.receive(event)[0], PostRefused)


@pytest.mark.parametrize("action", ACTIONS, ids=ids)
@pytest.mark.parametrize("event", [Unanswered("p", sent=True), Answered("p", 502)])
def test_what_may_have_been_taken_is_sent_again_only_when_it_counts_once(
    action: object, event: Answered | Unanswered
) -> None:
    core, _ = asked(action)
    [effect] = core.receive(event)
    assert isinstance(effect, Post) == isinstance(action, SubmitUnit)


@pytest.mark.parametrize("action", ACTIONS, ids=ids)
@pytest.mark.parametrize("status_code", [400, 404, 413, 422])
def test_a_refusal_is_the_last_word(action: object, status_code: int) -> None:
    core, _ = asked(action)
    [effect] = core.receive(Answered("p", status_code, b"no"))
    assert isinstance(effect, PostRefused)
    assert effect.status_code == status_code


def test_the_server_s_retry_after_is_passed_on() -> None:
    core, _ = asked(SubmitUnit("p", {}))
    [again] = core.receive(Answered("p", 503, retry_after=7.0))
    assert isinstance(again, Post)
    assert again.wait == 7.0


def test_files_go_with_a_submission() -> None:
    file = Attachment("photo", "me.png", b"\x89", "image/png")
    _, post = asked(SubmitUnit("p", {"text": "x"}, (file,)))
    assert post.attachments == (file,)
    assert json.loads(post.body)["final_data"] == {"text": "x"}


def test_a_second_submission_waits_for_the_first_ones_answer() -> None:
    core, _ = asked(SubmitUnit("p", {}))
    with pytest.raises(LocalProtocolError) as caught:
        core.receive(SubmitUnit("q", {}))
    assert caught.value.error_type == "in-flight"


def test_metadata_may_be_on_its_way_twice_but_not_under_one_name() -> None:
    core, _ = asked(SubmitMetadata("p", {}))
    with pytest.raises(LocalProtocolError) as caught:
        core.receive(SubmitMetadata("p", {}))
    assert caught.value.error_type == "duplicate-post"
    assert isinstance(core.receive(SubmitMetadata("q", {}))[0], Post)


def test_only_so_many_are_on_their_way() -> None:
    core, _ = asked(SubmitMetadata("p", {}))
    core.receive(SubmitMetadata("q", {}))
    with pytest.raises(LocalProtocolError) as caught:
        core.receive(SubmitMetadata("r", {}))
    assert caught.value.error_type == "too-many-posts"


def test_what_is_not_json_is_refused_and_nothing_is_on_its_way() -> None:
    core = page(options=STATIC)
    loop: list[object] = []
    loop.append(loop)
    for data in (object(), loop):
        with pytest.raises(LocalProtocolError) as caught:
            core.receive(SubmitUnit("p", data))
        assert caught.value.error_type == "not-json"
    assert isinstance(core.receive(SubmitUnit("p", {}))[0], Post)
