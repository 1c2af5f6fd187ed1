"""How a lost uplink was lost, as one word in the picture: nobody has to parse the sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from failover.config import Config, Uplink
from failover.export import status
from failover.model import Outcome, Reason, Verdict

from .box import PINGS, WEB, Box, dead
from .worlds import V4

NAMED = Config(uplinks=(Uplink("a", "a"), Uplink("b", "b")), targets=(*PINGS, WEB))
SCHEMA = Path(status.__file__).parent / "schemas" / "status.json"


def unplug(box: Box) -> None:
    box.unplug("a")


def cut(box: Box) -> None:
    box.change("a", carrier=False)


def silence(box: Box) -> None:
    box.weather["a"] = dead(0)


def refuse(box: Box) -> None:
    box.weather["a"] = lambda *_: Outcome.REFUSED


def wall(box: Box) -> None:
    box.weather["a"] = lambda _, target: Outcome.PORTAL if target.kind.is_web else 0.03


CASES: dict[str, tuple[Callable[[Box], None], Verdict, Reason]] = {
    "no interface": (unplug, Verdict.ABSENT, Reason.ABSENT),
    "no carrier": (cut, Verdict.DOWN, Reason.LINK_DOWN),
    "silent": (silence, Verdict.DOWN, Reason.CONVICTION),
    "refused": (refuse, Verdict.DOWN, Reason.REFUSED),
    "a portal": (wall, Verdict.PORTAL, Reason.PORTAL),
}


@pytest.mark.parametrize(("harm", "verdict", "cause"), CASES.values(), ids=CASES)
def test_a_lost_uplink_says_how(harm: Callable[[Box], None], verdict: Verdict, cause: Reason) -> None:
    box = Box("a", "b", config=NAMED).run(20)
    harm(box)
    box.run(400)
    lost, well = (uplink.families[V4] for uplink in box.engine.snapshot().uplinks)
    assert (lost.verdict, lost.cause) == (verdict, cause)
    assert (well.verdict, well.cause) == (Verdict.UP, "")


def test_there_are_no_other_words() -> None:
    schema = json.loads(SCHEMA.read_text())
    (words,) = [one["enum"] for one in find(schema, "cause")]
    assert sorted(words) == sorted(["", *(cause for _, _, cause in CASES.values())])


def find(value: object, key: str) -> list[dict[str, list[str]]]:
    """What stands under this key, wherever that is."""
    if isinstance(value, dict):
        here = [value[key]] if isinstance(value.get(key), dict) else []
        return here + [found for one in value.values() for found in find(one, key)]
    return []
