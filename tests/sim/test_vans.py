"""The great outages, played with a van of two modems and with one that has both SIMs in one modem, held to figures.

Modems that are told too much to do are part of an outage: what the agent has them do is bounded, and is worth it.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Final

import pytest

from failover.config import Config
from failover.model import Family
from failover.modem import Deed
from failover.sim.flows import Counting
from failover.sim.modems import Fit
from failover.sim.scenario import find_script
from failover.sim.script import Actor, Phase, Script, Van
from failover.sim.stage import Played, play_script
from failover.sim.traffic import Meter

HOUR: Final = 3600.0
SEED: Final = 1
HOURS: Final = {"kddi2022": 2.0, "softbank2018": 6.0, "att2024": 12.0}
"""Of each what is played: of the longest one, so much of the storm."""


@cache
def played(name: str, van: Van) -> Played:
    script = find_script(name)
    first = script.actors[0]
    phases = tuple(replace(p, until=min(p.until, HOURS[name] * HOUR)) if p.until else p for p in first.phases)
    kept = phases[: 2 if name == "kddi2022" else None]
    actors = replace(first, phases=kept), *script.actors[1:]
    return play_script(replace(script, van=van, length=HOURS[name] * HOUR, actors=actors), Config(), None, SEED)


def _wrong(script: Script) -> Phase:
    return next(phase for phase in script.actors[0].phases if "no service" in phase.text)


def meter(run: Played) -> Meter:
    return run.account.meters[Family.IPV4]


def times(run: Played, deed: Deed) -> list[float]:
    return [at for at, order in run.account.orders if order.deed is deed]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", HOURS)
@pytest.mark.parametrize("van", [Van.MODEMS, Van.SIMS])
def test_no_modem_joins_the_storm(name: str, van: Van) -> None:
    run = played(name, van)
    resets = times(run, Deed.RESET)
    assert len(resets) <= 6
    assert all(later - earlier >= 600.0 for earlier, later in pairwise(resets))
    assert len(times(run, Deed.REGISTER)) <= 8
    assert len(times(run, Deed.RECONNECT)) <= 8


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("name", "share"), [("kddi2022", 0.05), ("softbank2018", 0.01), ("att2024", 0.01)])
def test_with_two_modems_an_outage_is_lived_through(name: str, share: float) -> None:
    told = meter(played(name, Van.MODEMS))
    assert told.agent.bad <= share * told.never.bad
    assert told.agent.silent <= 5.0


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("name", "bad", "changes"), [("kddi2022", 0.1, 4), ("softbank2018", 0.06, 8), ("att2024", 0.02, 9)]
)
def test_with_two_sims_in_one_modem_the_other_one_is_used(name: str, bad: float, changes: int) -> None:
    """A return that is in vain costs time, and leaves room to undo it."""
    run = played(name, Van.SIMS)
    told, changed = meter(run), times(run, Deed.SELECT_SLOT)
    assert told.agent.bad <= bad * told.never.bad
    assert 2 <= len(changed) <= changes
    assert all(later - earlier >= HOUR for earlier, later in zip(changed, changed[2:], strict=False))


@pytest.mark.timeout(600)
def test_att_moves_to_the_other_sim_within_seconds_and_returns_when_it_is_due() -> None:
    run = played("att2024", Van.SIMS)
    first = times(run, Deed.SELECT_SLOT)[0]
    moved = next(line for line in run.journal.lines if "nothing -> verizon" in line).split()[0]
    hours, minutes, seconds = (float(part) for part in moved.split(":"))
    assert 2.9 <= first <= 3.1
    assert hours * HOUR + minutes * 60 + seconds - first <= 4.0
    assert "att" in {order.uplink for at, order in run.account.orders if order.deed is Deed.SELECT_SLOT}


@pytest.mark.timeout(600)
def test_kddi_stays_while_packets_pass_and_the_modem_says_it_has_no_service() -> None:
    whole = find_script("kddi2022")
    au = replace(whole.actors[0], phases=(replace(_wrong(whole), until=2 * HOUR),))
    for van in (Van.MODEMS, Van.SIMS):
        run = play_script(
            replace(whole, actors=(au, *whole.actors[1:]), length=2 * HOUR, van=van), Config(), None, SEED
        )
        assert run.account.orders == []
        assert meter(run).active_seconds[0] >= 0.98 * meter(run).seconds


@pytest.mark.timeout(600)
def test_docomo_is_reset_when_lte_is_back_and_its_modem_sits_on_3g() -> None:
    """The end of 2021: what is left of twelve hours of 3G is the time until it is known that nothing else helps."""
    whole = find_script("docomo2021")
    ended = replace(whole.actors[0].phases[-1], until=12 * HOUR)
    docomo = replace(whole.actors[0], phases=(ended,))
    run = play_script(
        replace(whole, actors=(docomo, *whole.actors[1:]), length=2 * HOUR, van=Van.MODEMS), Config(), None, SEED
    )
    steps = [(order.deed, at) for at, order in run.account.orders]
    assert [deed for deed, _ in steps] == [Deed.REGISTER, Deed.RESET]
    assert steps[-1][1] <= 15 * 60
    assert any(line.endswith("world     docomo: cured") for line in run.journal.lines)
    assert meter(run).agent.bad <= 10.0


@pytest.mark.timeout(600)
def test_nothing_is_repaired_while_the_other_sim_of_the_same_network_is_dead_too() -> None:
    """A sub-brand rides on its host: what is wrong is the network's own, and no reset helps."""
    dark = (Phase(until=6 * HOUR, changes={"registered": False}),)
    brands = Actor("att", phases=dark, network="310410"), Actor("cricket", phases=dark, network="310410")
    other = Actor("verizon", network="311480")
    script = Script("t", (*brands, other), HOUR, van=Van.MODEMS, requests_every=60.0)
    assert play_script(script, Config(), None, SEED).account.orders == []


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("other", "bad", "changes"), [(1.0, 0.15, 3), (0.5, 1.05, 4)], ids=["well", "as ill"])
def test_a_sim_by_which_half_passes_for_hours_is_left_and_no_dance_is_danced(
    other: float, bad: float, changes: int
) -> None:
    half, ill = ((Phase(until=2 * HOUR, changes={"passes": share}),) for share in (0.5, other))
    sims = Actor("au", phases=half), Actor("docomo", phases=ill)
    script = Script("t", sims, 2 * HOUR, van=Van.SIMS, counted=Counting.NOTHING)
    run = play_script(script, Config(), None, SEED)
    assert meter(run).agent.bad <= bad * meter(run).never.bad
    assert 1 <= len(times(run, Deed.SELECT_SLOT)) <= changes
    assert times(run, Deed.RESET) == []


@pytest.mark.parametrize(("dials", "bad"), [(True, 7.4), (False, 9.4)])
def test_a_slot_is_left_and_the_other_connected_in_four_seconds_or_six_if_nobody_dials(dials: bool, bad: float) -> None:
    """Of the decision, which takes three; in both families, and open flows of neither are left behind."""
    dark = (Phase(until=600.0, changes={"registered": False}),)
    sims = [Actor("au", phases=dark, modem=Fit("wwan0", 1, dials=dials)), Actor("docomo", modem=Fit("wwan0", 2))]
    run = play_script(Script("t", tuple(sims), 300.0, families=tuple(Family)), Config(), None, SEED)
    assert len(times(run, Deed.SELECT_SLOT)) == 1
    for told in run.account.meters.values():
        assert told.agent.bad <= bad
        assert told.agent.silent <= bad
