"""The demo's labelling task: a quiz that can be failed, then three messages to label."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from typing import Any

from statecore.adapters.agents import Unit
from statecore.adapters.task import StaticTask

__all__ = ["label"]

logger = logging.getLogger(__name__)

GUIDELINE = (
    "Say what the writer mainly wants. Question: they want an answer. Complaint: something is wrong "
    "and they want it noticed or mended. Praise: they are happy and say so. If a message does two of "
    "these, question goes before complaint, and complaint before praise. If you are unsure, choose "
    "what fits best; never leave one out."
)

LABELS = ("question", "complaint", "praise")

# The right answers are here and not in the page, where everybody could read them.
KEY = {"ask": "question", "mixed": "complaint", "unsure": "best"}

TEXTS = (
    "Does the blue one come in a larger size?",
    "The lid cracked on the second day. I expected better.",
    "Whoever packed this parcel deserves a rise. Perfect!",
    "My order says delivered, but nobody has seen it. Where is it?",
    "The hotline was friendly, yet my bill is still wrong.",
    "Third pair I buy, and they only get better.",
    "Can I wash it at sixty degrees?",
    "You changed the recipe and it tastes of cardboard now.",
    "The manual is a joy to read, thank you.",
    "Lovely colour. Is there a matching scarf?",
    "Waited two weeks for a spare part that does not fit.",
    "It arrived a day early and works like a charm.",
)

TEXTS_A_UNIT = 3


def units() -> Iterator[dict[str, Any]]:
    """Three messages for each worker, without end."""
    numbered = itertools.cycle(enumerate(TEXTS, 1))
    while True:
        texts = [
            {"id": f"t{number}", "text": text}
            for number, text in itertools.islice(numbered, TEXTS_A_UNIT)
        ]
        yield {"texts": texts, "labels": list(LABELS), "guideline": GUIDELINE}


def passes(answers: Any) -> bool:
    """Whether every question of the quiz was answered right."""
    return isinstance(answers, dict) and answers.get("answers") == KEY


async def run(unit: Unit) -> None:
    """Wait for the labels; the page has all that it needs."""
    work = await unit.submission()
    logger.info("unit %s, labelled by %s: %s", unit.unit_id, unit.worker, work)


label = StaticTask(
    name="label",
    units=units(),
    run=run,
    onboarding=passes,
    onboarding_data={"guideline": GUIDELINE},
    config={"task_title": "Label", "task_description": "Say what customers want."},
)
