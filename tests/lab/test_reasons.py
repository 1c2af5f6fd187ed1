"""Each fault gets a verdict and a reason of its own from the real agent, and traffic moves, or stays, as it should."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import product

import pytest

from failover.lab import faults, load
from failover.lab.pattern import IDLE
from failover.lab.places import CARRIERS, GATEWAY6
from failover.lab.stage import Stage
from failover.model import FAMILIES, Family
from failover.probes.bound import MUTE_GATEWAY
from tests.allowed import or_skip

from .van import DELAY, TRAFFIC, Van

IPV4, IPV6 = FAMILIES
DEAD = "1.1.1.1"
HASTE = {"base_reachable_time_ms": 500, "delay_first_probe_time": 1, "retrans_time_ms": 100}
"""For a kernel that asks after 2 s whether a silent neighbour is still there, not after a minute."""


@pytest.fixture(scope="module")
def built() -> Iterator[Van]:
    with or_skip(), Stage(lambda _who, _what: None, 3, delay=DELAY, pattern=TRAFFIC) as stage:
        stage.check_traffic()
        yield Van(stage)


@pytest.fixture
def van(built: Van) -> Iterator[Van]:
    with built.agent():
        yield built


@contextmanager
def shaped(van: Van, **shapes: Mapping[str, object]) -> Iterator[None]:
    """au is wrong in one way for IPv4 and in another for IPv6: a shape each, and a direction if it is one only."""
    changes = [{"carrier": "au", "family": family, **change} for family, change in shapes.items()]
    van.world.shape(*changes)
    try:
        yield
    finally:
        van.world.shape({"carrier": "au", "shape": van.world.shape_of_health})


def is_lost(van: Van, *families: Family, words: str = "") -> None:
    """au is doubted, then convicted, and new flows go by docomo at the doubt."""
    for family in families:
        assert van.becomes("au", family, "doubtful").startswith("silent for 0.")
        assert van.moves(family, "au", "docomo").text.startswith(f"{family} au -> docomo: doubt: au silent for 0.")
        conviction = van.becomes("au", family, "down")
        assert conviction.startswith("silent for "), conviction
        assert "while another uplink receives" in conviction, conviction
        assert words in conviction
    told = van.explained()
    for family in families:
        assert (told[family]["active"], told[family]["reason"]) == ("docomo", "conviction")
        au = told[family]["candidates"]["au"]
        assert au["verdict"] == "down"
        assert au["text"].startswith(van.becomes("au", family, "down"))


def is_degraded(van: Van, texts: dict[Family, str], timeout: float) -> None:
    """au is degraded for these reasons, new flows go by docomo, and nothing is lost."""
    for family, text in texts.items():
        assert text in van.becomes("au", family, "degraded", timeout), van.story()
        van.moves(family, "au", "docomo")
    van.until(lambda: all(found["reason"] == "degraded" for found in van.explained().values()))
    told = van.explained()
    for family, text in texts.items():
        au = told[family]["candidates"]["au"]
        assert (told[family]["active"], au["verdict"]) == ("docomo", "degraded")
        assert text in au["text"]
        assert not is_convicted(van, family)


def is_convicted(van: Van, family: Family, uplink: str = "au") -> bool:
    return any(text.startswith("down") for text in van.verdicts(uplink, family))


def stays(van: Van, diverts: int = 0) -> None:
    """au was not convicted; new flows were sent to another uplink no more often than that."""
    for family in FAMILIES:
        assert not is_convicted(van, family), van.story()
        away = [text for text in van.moved(family) if text.startswith(f"{family} au -> ")]
        assert len(away) <= diverts, van.story()


def is_fine(van: Van, *families: Family) -> None:
    """Nothing was said of au, nothing has moved."""
    for family in families:
        assert van.verdicts("au", family) == [], van.story()
        assert van.moved(family) == []
        assert van.status()["au"][family]["verdict"] == "up"


# --- nothing gets through --------------------------------------------------------------------------------------------


def test_a_dead_upstream(van: Van) -> None:
    with faults.blackout(van.world, "au"):
        is_lost(van, *FAMILIES)
        assert not any(MUTE_GATEWAY in au_text(van, family) for family in FAMILIES)


def test_a_dead_gateway(van: Van) -> None:
    """What the kernel says of it, once its neighbour discovery has failed, is told with the conviction."""
    au, ground = CARRIERS[0], van.world.ground
    for family, (key, wanted) in product(FAMILIES, HASTE.items()):
        ground.van.sysctl(f"{family}/neigh/{au.interface}/{key}", wanted)

    with faults.router_silent(van.world, "au"):
        for gateway in (au.gateway, GATEWAY6):
            ground.van.rtnl.age_neighbour(ground.uplink(au).index, gateway, ground.access(au.name).mac)
        is_lost(van, *FAMILIES)
        van.until(lambda: all(au_text(van, family).endswith(f"; {MUTE_GATEWAY}") for family in FAMILIES))
        assert all("silent for " in au_text(van, family) for family in FAMILIES)


def au_text(van: Van, family: Family) -> str:
    return str(van.explained()[family]["candidates"]["au"]["text"])


def test_one_way(van: Van) -> None:
    """Down only in one family, up only in the other."""
    dead = {"loss": 1.0}
    with shaped(van, ipv4={"direction": "down", "shape": dead}, ipv6={"direction": "up", "shape": dead}):
        is_lost(van, *FAMILIES)


def test_chatter_of_the_gateway_is_no_reply(van: Van) -> None:
    with faults.chatter(van.world, "au", 30), faults.blackout(van.world, "au"):
        is_lost(van, *FAMILIES)


@pytest.mark.parametrize(
    ("dead", "alive", "fault"), [(IPV4, IPV6, faults.v4_blackhole), (IPV6, IPV4, faults.v6_blackhole)]
)
def test_one_family_dies(van: Van, dead: Family, alive: Family, fault: Callable[..., faults.Fault]) -> None:
    with fault(van.world, "au"):
        is_lost(van, dead)
        is_fine(van, alive)


def test_a_standby_that_sleeps(van: Van) -> None:
    """It takes 0.3 s longer to answer first, and is not convicted for that."""
    with faults.sleepy(van.world, "docomo", doze=0.5), faults.blackout(van.world, "au") as began:
        assert van.stage.settle(began, 5.0, kinds=["new"])
        for family in FAMILIES:
            van.becomes("au", family, "down")
            assert not is_convicted(van, family, "docomo")


def test_a_cold_boot(built: Van) -> None:
    """au is dead upstream before the agent starts: the first that answers is taken."""
    with faults.blackout(built.world, "au"), built.agent(patience=0.0):
        for family in FAMILIES:
            built.moves(family, "au", "docomo")
        assert all(found["active"] == "docomo" for found in built.explained().values())


def test_prohibited(van: Van) -> None:
    with faults.prohibited(van.world, "au"):
        for family in FAMILIES:
            assert van.becomes("au", family, "down") == "the carrier answers that it refuses"
            van.moves(family, "au", "docomo")
        for found in van.explained().values():
            assert (found["active"], found["reason"]) == ("docomo", "refused")


def test_a_portal(van: Van) -> None:
    """It comes up behind one, which lets ICMP and DNS pass."""
    unplugged = faults.link_down(van.world, "au")
    unplugged.begin()
    for family in FAMILIES:
        van.moves(family, "au", "docomo")
    with faults.portal(van.world, "au"):
        unplugged.end()
        for family in FAMILIES:
            assert van.becomes("au", family, "portal") == "a portal answers in the target's place"
        for found in van.explained().values():
            assert found["active"] == "docomo"
            assert found["candidates"]["au"]["objection"].startswith("is portal: ")


# --- some of it gets through -----------------------------------------------------------------------------------------


def test_loss(van: Van) -> None:
    """Every fifth packet of what is sent, and every second one."""
    fifth, half = ({"direction": "up", "shape": {"loss": ratio}} for ratio in (0.2, 0.5))
    with shaped(van, ipv4=fifth, ipv6=half):
        is_degraded(van, dict.fromkeys(FAMILIES, " of "), 40.0)


def test_a_little_loss_is_usual(van: Van) -> None:
    with faults.loss(van.world, "au", 0.05, direction="up"):
        van.stage.watch(5.0)
        stays(van, diverts=1)
        assert all(van.status()["au"][family]["verdict"] == "up" for family in FAMILIES)


def test_slow(van: Van) -> None:
    """300 ms more, and five times as long. What is usual must be known before."""
    for _ in range(5):
        van.command("probe", "au")
    with shaped(van, ipv4={"shape": {"delay": DELAY + 0.15}}, ipv6={"shape": {"delay": 5 * DELAY}}):
        is_degraded(van, {IPV4: "rtt 36", IPV6: "rtt 30"}, 20.0)
        assert all("(usually 6" in van.becomes("au", family, "degraded") for family in FAMILIES)


def test_a_dead_target(van: Van) -> None:
    """One of three: it is named, and that is all."""
    with faults.dead_target(van.world, DEAD):
        van.until(lambda: silent_targets(van) == [f"icmp://{DEAD}"])
        van.until(lambda: au_text(van, IPV4) == f"answers; icmp://{DEAD} gets no answer and others do: its own fault")
        is_fine(van, *FAMILIES)


def silent_targets(van: Van) -> list[str]:
    """Those of au that did not answer when they were asked last."""
    return [target["url"] for target in van.status()["au"][IPV4]["targets"] if target["last_outcome"] == "silent"]


def test_filtered_icmp(built: Van) -> None:
    """From the start: the other kinds of targets prove it, and nobody waits for ICMP any more once they have."""
    with faults.icmp_filtered(built.world, "au"), built.agent():
        built.until(lambda: all(built.steady_seconds("au", family) >= 2.0 for family in FAMILIES))
        stays(built, diverts=1)
        assert all(built.status()["au"][family]["verdict"] == "up" for family in FAMILIES)
        for _ in range(3):
            built.command("probe", "au")
        built.until(lambda: all("no ping is answered" in au_text(built, family) for family in FAMILIES))


def test_half_of_the_new_flows_refused(van: Van) -> None:
    """Running ones pass, and say that all is well."""
    with faults.half_refused(van.world, "au"):
        is_degraded(van, dict.fromkeys(FAMILIES, "probes"), 60.0)
        stays(van, diverts=3)


# --- it passes, or is our own doing ----------------------------------------------------------------------------------


def test_stalls_are_no_outages(van: Van) -> None:
    for number, seconds in enumerate((0.3, 0.5, 1.0)):
        with faults.stall(van.world, "au"):
            van.stage.watch(seconds)
        van.stage.watch(1.0)
        stays(van, diverts=number)
    assert all(van.status()["au"][family]["verdict"] == "up" for family in FAMILIES)


def test_a_tunnel(van: Van) -> None:
    """All are silent: nothing is lost. What was proven before is tried, each uplink once at most."""
    with faults.all_dead(van.world):
        for family in FAMILIES:
            van.becomes("au", family, "doubtful")
        van.stage.watch(3.0)
    van.until(lambda: van.verdicts_now() == {"up"})
    for family in FAMILIES:
        assert len(van.moved(family)) <= 2, van.story()
        assert not any(is_convicted(van, family, uplink) for uplink in van.world.ground.routers), van.story()


def test_a_stream_without_replies_and_a_dead_server(van: Van) -> None:
    van.stage.user.change(IDLE)
    with load.datagrams(van.world, IPV4), load.retries(van.world, IPV6):
        van.stage.watch(5.0)
        stays(van, diverts=1)


def test_an_upload_of_our_own(van: Van) -> None:
    with load.bottleneck(van.world, "au"), load.upload(van.world):
        van.stage.watch(6.0)
        stays(van, diverts=1)
        assert all(van.status()["au"][family]["verdict"] == "up" for family in FAMILIES)


def test_names_do_not_resolve(van: Van) -> None:
    """Packets pass, DNS does not; over a standby it does."""
    with faults.dns_dead(van.world, "au"):
        van.command("probe", "au")
        is_degraded(van, dict.fromkeys(FAMILIES, "names do not resolve"), 15.0)
