"""What the demo plays: each act breaks something on a stage of its own and says what should come of it.

The limits are those of the product's promises, with room for a busy machine; they are not its goals.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from failover.lab import faults
from failover.lab.stage import Stage
from failover.lab.user import Seen
from failover.model import FAMILIES, Family

NEW_FLOWS = 1.6
"""Seconds; the longest outage of new flows in a silent blackout."""
LINK_DOWN = 1.1
"""Seconds; the kernel may hold a carrier event back for one."""
STREAM = 1.2
"""Seconds; the longest outage of an MPTCP stream in a silent blackout: nobody is convicted by then."""
FORWARDED = 3.5
"""Seconds; the longest outage of a LAN client's flows in a silent blackout."""
COLD_BOOT = 5.0
FAILBACK = 20.0
UNDISTURBED = 0.1


@dataclass(frozen=True, slots=True)
class Act:
    """One thing to play. The function gets a stage with traffic."""

    name: str
    title: str
    play: Callable[[Stage], None]
    warm: bool = True
    """An agent runs and has proven all uplinks."""
    lossy: bool = False
    """Packets are lost now and then: a share says more than an outage."""


def _new_flows_within(stage: Stage, limit: float, families: tuple[Family, ...] = FAMILIES) -> None:
    """New flows of these families must be back in lasting service that soon after t0."""
    stage.settle(stage.t0, max(0.0, stage.t0 + limit + 2.0 - time.monotonic()), families, ["new"])
    flows = stage.user.seen(stage.t0)
    for family in families:
        outage = flows[family, "new"].outage_seconds
        shown = "not yet over" if outage is None else f"{outage:.2f} s"
        stage.expect(outage is not None and outage <= limit, f"{family}: outage of new flows {shown}, limit {limit} s")


def _stays(stage: Stage, seconds: float, families: tuple[Family, ...] = FAMILIES) -> None:
    """For so long the agent must not move these families."""
    stage.watch(seconds)
    for family in families:
        moved = stage.hear("switch", str(family))
        stage.expect(moved is None, f"{family} was moved: {moved}")


def _break_au(stage: Stage, text: str, fault: faults.Fault, limit: float = NEW_FLOWS, watched: float = 4.0) -> None:
    """Break au, expect new flows back, go on watching."""
    stage.begin(text, fault)
    _new_flows_within(stage, limit)
    stage.watch(max(0.0, stage.t0 + watched - time.monotonic()))


def blackout(stage: Stage) -> None:
    text = "au: nothing passes upstream of its router; the link is up, the gateway answers"
    _break_au(stage, text, faults.blackout(stage.world, "au"))
    for (family, kind), seen in stage.user.seen(stage.t0).items():
        if kind == "mptcp":
            goes_on = _was_out(seen, STREAM) and not seen.reconnects
            stage.expect(goes_on, f"{family}: the MPTCP stream did not go on within {STREAM} s: {seen}")
    for guest in stage.users[1:]:
        for (family, kind), seen in guest.seen(stage.t0).items():
            stage.expect(_was_out(seen, FORWARDED), f"{family}: the LAN's {kind} not back within {FORWARDED} s: {seen}")


def _was_out(seen: Seen, limit: float) -> bool:
    """For so long at most."""
    return seen.outage_seconds is not None and seen.outage_seconds <= limit


def failback(stage: Stage) -> None:
    fault = faults.blackout(stage.world, "au")
    stage.begin("au: blackout", fault)
    stage.expect(stage.settle(stage.t0, 5.0, kinds=["new"]), "the traffic did not leave au")
    stage.watch(max(0.0, stage.t0 + 2.5 - time.monotonic()))
    stage.tell("au: carries again")
    stage.mark(fault.end())
    for family in FAMILIES:
        back = stage.hear("switch", f"{family} docomo -> au", FAILBACK)
        stage.expect(back is not None, f"{family} did not return to au within {FAILBACK:.0f} s")
        if back is not None:
            lost = stage.user.seen(back.at - 0.5)[family, "new"].outage_seconds
            stage.expect(lost is not None and lost < UNDISTURBED, f"{family}: new flows were lost in the return")
    stage.watch(1.0)


def link_down(stage: Stage) -> None:
    _break_au(stage, "au: no carrier", faults.link_down(stage.world, "au"), LINK_DOWN, watched=2.0)


def kill(stage: Stage) -> None:
    """The agent dies while its work carries the traffic; nothing may change, then or at the restart."""
    stage.begin("au: blackout", faults.blackout(stage.world, "au"))
    _new_flows_within(stage, NEW_FLOWS)
    stage.tell("kill -9 of the agent")
    stage.kill_agent()
    killed = time.monotonic()
    stage.watch(2.0)
    stage.tell("the agent starts again")
    stage.start_agent()
    stage.expect(stage.hear("ready", "", 5.0, since=killed) is not None, "the agent did not get ready again")
    stage.watch(2.0)
    for family in FAMILIES:
        flows = stage.user.seen(killed, time.monotonic() - 1.0)[family, "new"]
        lost = flows.sent - flows.answered
        stage.expect(lost == 0, f"{family}: {lost} of {flows.sent} new flows were lost after the kill")


def router_silent(stage: Stage) -> None:
    text = "au: its router answers nothing, not even ARP; the link is up"
    _break_au(stage, text, faults.router_silent(stage.world, "au"))


def one_way(stage: Stage) -> None:
    _break_au(stage, "au: what is sent arrives, no answer comes back", faults.one_way(stage.world, "au"))


def loss_20(stage: Stage) -> None:
    """A brownout: half a minute until 5 of 50 are lost, one case in ten takes longer than 45 s; then it is for good."""
    fault = faults.loss(stage.world, "au", 0.2, direction="up")
    stage.begin("au: every fifth packet is lost", fault)
    for family in FAMILIES:
        moved = stage.hear("switch", f"{family} au -> ", 90.0)
        stage.expect(moved is not None, f"{family} did not leave au")


def portal(stage: Stage) -> None:
    """The link comes up behind a captive portal that lets ICMP and DNS pass."""
    unplugged = faults.link_down(stage.world, "au")
    stage.begin("au: no carrier", unplugged)
    _new_flows_within(stage, LINK_DOWN)
    stage.begin("au: there again, behind a captive portal (ICMP and DNS pass)", faults.portal(stage.world, "au"))
    back = unplugged.end()
    for family in FAMILIES:
        seen = stage.hear("verdict", f"au {family} is portal", 10.0)
        stage.expect(seen is not None, f"the portal was not seen in {family}")
    stage.watch(8.0)
    for family in FAMILIES:
        returned = stage.hear("switch", f"{family} docomo -> au", since=back)
        stage.expect(returned is None, f"{family} went into the portal")


def v6_blackhole(stage: Stage) -> None:
    stage.begin("au: IPv6 is swallowed upstream, IPv4 is fine", faults.v6_blackhole(stage.world, "au"))
    _new_flows_within(stage, NEW_FLOWS, (Family.IPV6,))
    _new_flows_within(stage, UNDISTURBED, (Family.IPV4,))
    _stays(stage, 2.0, (Family.IPV4,))


def prohibited(stage: Stage) -> None:
    text = "au: the carrier answers every packet: administratively prohibited"
    _break_au(stage, text, faults.prohibited(stage.world, "au"), watched=2.0)


def dns_dead(stage: Stage) -> None:
    """Names that resolve over another uplink only are a reason to leave, once a DNS probe or two have told, and none to
    convict anybody."""
    stage.begin("au: port 53 is swallowed, all else passes", faults.dns_dead(stage.world, "au"))
    for family in FAMILIES:
        moved = stage.hear("switch", f"{family} au -> docomo: degraded", 60.0)
        stage.expect(moved is not None, f"{family} did not leave au")
        convicted = stage.hear("verdict", f"au {family} is down")
        stage.expect(convicted is None, f"au was convicted: {convicted}")
    stage.watch(1.0)
    _new_flows_within(stage, UNDISTURBED)


def all_dead(stage: Stage) -> None:
    """Where everything is silent nothing is better; the first that comes back is taken."""
    fault = faults.all_dead(stage.world)
    stage.begin("au, docomo, depot: blackout of all at once", fault)
    stage.watch(5.0)
    for carrier in stage.world.ground.routers:
        for family in FAMILIES:
            convicted = stage.hear("verdict", f"{carrier} {family} is down")
            stage.expect(convicted is None, f"{carrier} was convicted while nothing answered: {convicted}")
    stage.tell("docomo: carries again")
    stage.mark(stage.world.shape({"carrier": "docomo", "shape": {"loss": 0.0}}))
    _new_flows_within(stage, COLD_BOOT)


def cold_boot(stage: Stage) -> None:
    """The preferred uplink has link but no internet when the agent starts."""
    faults.blackout(stage.world, "au").begin()
    stage.tell("au: linked, but dead upstream, since before the start; the agent starts")
    stage.mark(time.monotonic())
    stage.start_agent()
    _new_flows_within(stage, COLD_BOOT)


DEFAULT = (
    Act("blackout", "silent blackout of the preferred carrier", blackout),
    Act("failback", "it comes back", failback),
    Act("link-down", "its link goes down", link_down),
    Act("kill", "kill -9 of the agent during an outage, restart", kill),
)
MORE = (
    Act("router-silent", "its router falls silent", router_silent),
    Act("one-way", "its downlink dies", one_way),
    Act("loss-20", "it loses 20 % of what is sent", loss_20, lossy=True),
    Act("portal", "it comes up behind a captive portal", portal),
    Act("v6-blackhole", "it swallows IPv6 only", v6_blackhole),
    Act("prohibited", "it refuses every packet", prohibited),
    Act("dns-dead", "it swallows DNS only", dns_dead),
    Act("all-dead", "all carriers die, one comes back", all_dead),
    Act("cold-boot", "it is dead before the agent starts", cold_boot, warm=False),
)
