"""The operator's commands -> the will in force, or why not.

Pure. `use` and `drain` are wishes that policy honours; nothing is switched here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import inf
from typing import assert_never

from failover.config.values import format_duration
from failover.core.lane import Lane
from failover.core.policy import Will
from failover.core.verdicts import LOST
from failover.model import RECEIVING, Answer, Auto, Drain, ProbeNow, Undrain, Use
from failover.seam import Asked
from failover.wording import suggest


def obey(now: float, asked: Asked, will: Will, lanes: Sequence[Lane]) -> tuple[Will, Answer]:
    """The will after the command, and the answer to whoever gave it."""
    command = asked.command
    names = list(dict.fromkeys(lane.uplink.name for lane in lanes))
    if isinstance(command, Undrain):
        names += sorted(will.drained.difference(names))  # it may have gone since, or not have come yet
    if not isinstance(command, Auto) and command.name not in names:
        return will, _unknown(asked.id, command.name, names)
    match command:
        case Use(name, seconds, strict):
            if name in will.drained:
                return will, Answer(asked.id, "", f"{name} is drained", f"failover undrain {name}")
            will = replace(will, use=name, until=now + seconds, strict=strict)
            text = f"using {name} for {format_duration(seconds)}" + (", strictly" if strict else "")
            able = any(lane.verdict not in LOST for lane in lanes if lane.uplink.name == name)
            unable = ", though it carries no traffic now" if strict else ", once it can carry traffic again"
            return will, Answer(asked.id, text if able else text + unable)
        case Auto():
            return _unpinned(will), Answer(asked.id, "choosing by health again")
        case Drain(name) if name in will.drained:
            return will, Answer(asked.id, f"{name} is already drained")
        case Drain(name, force):
            alone = [] if force else _alone(name, lanes, will)
            if alone:
                why = f"{name} is the last usable uplink for {' and '.join(alone)}"
                return will, Answer(asked.id, "", why, "--force drains it all the same")
            will = _unpinned(will) if will.use == name else will
            kept = "; traffic stays on it until another one can take it" if _alone(name, lanes, will) else ""
            return replace(will, drained=will.drained | {name}), Answer(asked.id, f"{name} is drained{kept}")
        case Undrain(name):
            return replace(will, drained=will.drained - {name}), Answer(asked.id, f"{name} is no longer drained")
        case ProbeNow(name):
            return will, Answer(asked.id, f"probing every target of {name}")
        case _:
            assert_never(command)


def expire(now: float, will: Will) -> Will:
    """`use` ends when its time is over."""
    return _unpinned(will) if will.use is not None and will.until <= now else will


def _unpinned(will: Will) -> Will:
    return replace(will, use=None, until=inf, strict=False)


def _unknown(asked: int, name: str, names: Iterable[str]) -> Answer:
    hint = suggest(name, names) or f"there is {', '.join(names) or 'no uplink'}"
    return Answer(asked, "", f"no uplink is named {name}", hint)


def _alone(name: str, lanes: Sequence[Lane], will: Will) -> list[str]:
    """Families that nothing else could carry."""
    mine = {lane.family for lane in lanes if lane.uplink.name == name and lane.verdict not in LOST}
    others = [lane for lane in lanes if lane.uplink.name != name and lane.uplink.name not in will.drained]
    return sorted(mine - {lane.family for lane in others if lane.verdict in RECEIVING})
