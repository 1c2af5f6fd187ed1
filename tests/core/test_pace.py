"""A metered uplink saves bytes except where it is not known what it is worth."""

from __future__ import annotations

import pytest

from failover.config import Config, Metered, Uplink
from failover.model import Outcome, Verdict

from .box import PINGS, RTT, Box, Weather, dead

DEAR = Config(targets=PINGS, uplinks=(Uplink("a", "a", metered=Metered()),))


def pace(weather: Weather) -> tuple[Verdict, int]:
    """The verdict on a metered uplink without a rival, and its probes in the minute from 100 s to 160 s."""
    box = Box("a", config=DEAR)
    box.weather["a"] = weather
    box.run(160)
    return box.verdict("a"), len(box.probes("a", 100, 160))


# fmt: off
PACES: dict[str, tuple[Weather, Verdict, int]] = {
    "known": (lambda *_: RTT, Verdict.UP, 12),
    "unknown": (lambda *_: Outcome.LOCAL, Verdict.UNKNOWN, 60),
    "in doubt": (dead(60), Verdict.DOUBTFUL, 60),
    "refused": (lambda *_: Outcome.REFUSED, Verdict.DOWN, 12),
}
# fmt: on


@pytest.mark.parametrize(("weather", "verdict", "probes"), PACES.values(), ids=PACES)
def test_a_metered_uplink_goes_at_full_pace_only_while_it_is_unknown_or_in_doubt(
    weather: Weather, verdict: Verdict, probes: int
) -> None:
    found, counted = pace(weather)
    assert found is verdict
    assert counted == pytest.approx(probes, abs=1)
