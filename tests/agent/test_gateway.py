"""A running agent as the gateway of a LAN: real clients behind it, both families, strict reverse path filters."""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from failover.core.plan import PREF_LAN
from failover.export.client import call
from failover.facts import ACCEPT_RA_NEW, FORWARDING_IPV6, TABLE_MAIN
from failover.kernel import conntrack, wire
from failover.kernel.counters import NETLINK_NETFILTER
from failover.kernel.netlink import Netlink
from failover.lab import faults
from failover.lab.lan import Lan
from failover.lab.namespaces import Namespace
from failover.lab.places import APP, CARRIERS, ECHO_PORT, LAN, client_address
from failover.lab.reach import AF
from failover.lab.rtnl import Route
from failover.lab.user import User
from failover.lab.wire import End, cable
from failover.lab.world import World
from failover.model import FAMILIES, Family
from tests.agent.running import PATIENCE, Agent, command, facts, running, watching
from tests.allowed import or_skip
from tests.kernel.forwarding import PROTOCOLS

TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM
MASK = 0x3F000000
LISTED = ", ".join(f"{{name: {carrier.name}, interface: {carrier.interface}}}" for carrier in CARRIERS)
PLAIN = f"uplinks: [{LISTED}]\n"
CONFIG = f"{PLAIN}gateway: {{lan: {LAN}}}\n"
POLICY = CONFIG + f"rules: [{{name: guests, lan: {LAN}, protocol: udp, only: depot}}]\n"
MARKS = {carrier.name: (slot + 1) << 24 for slot, carrier in enumerate(CARRIERS)}
NAMES = {mark: name for name, mark in MARKS.items()}
SWITCHED = (
    *(
        f"net/ipv4/conf/{name}/{key}"
        for name in ("wwan0", "wwan1", "wlan0", LAN)
        for key in ("forwarding", "src_valid_mark")
    ),
    "net/ipv6/conf/wlan0/accept_ra",
    ACCEPT_RA_NEW,
    FORWARDING_IPV6,
)


DOCOMO, FORWARDED = CARRIERS[1], 8080
NOBODYS_PORT = 9
TRACKING = "table inet theirs {\nchain f {\ntype filter hook forward priority 0\nct state invalid drop\n}\n}"


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with or_skip(), World(seed=5, lan=Lan()) as built:
        built.van.sysctl(ACCEPT_RA_NEW.removeprefix("net/"), 1)  # as a kernel has it
        yield built


@pytest.fixture(scope="module")
def van(world: World) -> Namespace:
    return world.van


@pytest.fixture
def config(tmp_path: Path, van: Namespace) -> Iterator[Path]:
    """A file that makes a gateway; afterwards nothing of the agent's is left."""
    path = tmp_path / "failover.yaml"
    path.write_text(CONFIG)
    before = switches(van)
    yield path
    cleaned(van, tmp_path)
    assert switches(van) == before


def cleaned(van: Namespace, home: Path) -> None:
    status, out, err = command(van, "cleanup", "--force", "--socket", str(home / "control.sock"), "--state", str(home))
    assert status == 0, out + err


def switches(van: Namespace) -> dict[str, str]:
    with van.entered():
        return {path: Path("/proc/sys", path).read_text().strip() for path in SWITCHED}


@contextlib.contextmanager
def flow(world: World, family: Family, kind: int) -> Iterator[socket.socket]:
    """A client's, to the internet's echo, answered once."""
    with world.clients[0].socket(AF[family], kind) as one:
        one.settimeout(PATIENCE)
        one.connect((APP[family], ECHO_PORT))
        echoed(one)
        yield one


def echoed(one: socket.socket) -> bool:
    one.send(b"12345678")
    return bool(one.recv(64))


def uplink(van: Namespace, one: socket.socket) -> str | None:
    """The one whose mark the flow bears."""
    wanted = ends(one)
    with van.entered():
        listed = [entry for some in conntrack.entries(0, 0) for entry in some]
    return next((NAMES.get(entry.mark & MASK) for entry in listed if entry.flow == wanted), None)


def ends(one: socket.socket) -> conntrack.Flow:
    """Another one of the client's, of another protocol or to somewhere else, may have the same port."""
    (source, source_port), (destination, port) = one.getsockname()[:2], one.getpeername()[:2]
    return conntrack.Flow(source, source_port, destination, port, PROTOCOLS[one.type])


def begun(world: World, family: Family, kind: int = UDP) -> str | None:
    """By which uplink a new flow of a client goes."""
    with flow(world, family, kind) as one:
        return uplink(world.van, one)


def answered(world: World, family: Family) -> bool:
    """Whether a client is, by now."""
    with world.clients[0].socket(AF[family], UDP) as one, contextlib.suppress(OSError):
        one.settimeout(0.2)
        one.connect((APP[family], ECHO_PORT))
        return echoed(one)
    return False


@contextlib.contextmanager
def serving(world: World, config: Path) -> Iterator[Agent]:
    """An agent that has proven all uplinks, and forwards."""
    with running(world.van, config.parent, "--config", str(config)) as agent:
        agent.ready().all_up()
        agent.until(lambda _: all(answered(world, family) for family in FAMILIES))
        yield agent


def verdict(agent: Agent, name: str, word: str, start: int) -> None:
    for family in FAMILIES:
        agent.said(f"verdict: {name} {family} is {word}", start)


# --- open flows and new ones -----------------------------------------------------------------------------------------


def test_clients_flows_keep_their_uplink_until_it_is_lost(world: World, van: Namespace, config: Path) -> None:
    """And those who only listen hear of it then; nothing else is harmed."""
    with contextlib.ExitStack() as stack, serving(world, config) as agent:
        old = {kind: [stack.enter_context(flow(world, family, kind)) for family in FAMILIES] for kind in (TCP, UDP)}
        assert [uplink(van, one) for one in (*old[TCP], *old[UDP])] == ["au"] * 4
        start = len(agent.lines)
        call(agent.socket, "use", {"name": "docomo"})
        agent.said("ipv6 au -> docomo", start)
        new = [stack.enter_context(flow(world, family, TCP)) for family in FAMILIES]
        assert [uplink(van, one) for one in new] == ["docomo"] * 2
        assert all(echoed(one) for one in (*old[TCP], *old[UDP]))
        assert [uplink(van, one) for one in (*old[TCP], *old[UDP])] == ["au"] * 4
        with faults.blackout(world, "au"):
            verdict(agent, "au", "down", start)
            for one in old[TCP]:
                with pytest.raises(ConnectionResetError):
                    one.recv(64)
            for one in old[UDP]:
                one.settimeout(1)
                with contextlib.suppress(TimeoutError):  # that packet may have met the old entry
                    echoed(one)
                assert echoed(one)
            assert [uplink(van, one) for one in old[UDP]] == ["docomo"] * 2
            assert all(echoed(one) for one in new)
            assert not select.select(new, [], [], 0)[0]
        assert "forwarded flows take the present way" in agent.said("flows: au ipv6: ", start)


def test_what_begins_in_a_blackout_follows_the_doubt(world: World, van: Namespace, config: Path) -> None:
    """With the SYN that is sent again after 1 s; the next one, a second later, would come after a conviction only. By
    other traffic the doubt comes early."""
    client = world.clients[0]
    with serving(world, config), User(client) as user, contextlib.ExitStack() as stack:
        assert user.wait(timeout=PATIENCE)
        began = stack.enter_context(faults.blackout(world, "au"))
        begun = {family: stack.enter_context(client.socket(AF[family], TCP)) for family in FAMILIES}
        for family, one in begun.items():
            one.setblocking(False)
            assert one.connect_ex((APP[family], ECHO_PORT)) == errno.EINPROGRESS
        for one in begun.values():
            one.settimeout(PATIENCE)
            assert select.select([], [one], [], PATIENCE)[1]
            assert time.monotonic() < began + 1.8
            assert echoed(one)
            assert uplink(van, one) == "docomo"


def test_the_operators_rules_hold_for_clients(world: World, van: Namespace, config: Path) -> None:
    config.write_text(POLICY)
    with serving(world, config) as agent:
        for family in FAMILIES:
            assert begun(world, family) == "depot"
            assert begun(world, family, TCP) in ("au", "docomo")
            source, to = client_address(1)[family], f"[{APP[family]}]:{ECHO_PORT}"
            asked = {"to": to.replace("[", "").replace("]", "") if "." in to else to, "protocol": "udp", "from": source}
            assert call(agent.socket, "explain", asked)["explain"]["uplink"] == "depot"


# --- the box ---------------------------------------------------------------------------------------------------------


def test_the_box_forwards_and_keeps_its_advertised_default(world: World, van: Namespace, config: Path) -> None:
    """Without any switch of all devices but the one that IPv6 has."""
    everybodys = "net/ipv4/ip_forward", "net/ipv4/conf/all/src_valid_mark"

    def values() -> list[str]:
        with van.entered():
            return [Path("/proc/sys", path).read_text().strip() for path in everybodys]

    before = values()
    with serving(world, config) as agent:
        agent.until(lambda _: {begun(world, family) for family in FAMILIES} == {"au"})
        found = switches(van)
        assert [found.pop(path) for path in ("net/ipv6/conf/wlan0/accept_ra", ACCEPT_RA_NEW)] == ["2"] * 2
        assert set(found.values()) == {"1"}
        advertised = [r for r in facts(van).routes if r.table == TABLE_MAIN and r.expires is not None]
        assert len(advertised) == 1
        assert values() == before


@pytest.mark.parametrize("path", [f"net/ipv4/conf/{LAN}/forwarding", FORWARDING_IPV6])
def test_forwarding_that_somebody_turned_off_is_on_again(world: World, van: Namespace, config: Path, path: str) -> None:
    """Also by an agent that finds everything else as it should be."""
    with serving(world, config) as agent:
        van.sysctl(path.removeprefix("net/"), 0)
        agent.until(lambda _: switches(van)[path] == "1")
        agent.kill()
    van.sysctl(path.removeprefix("net/"), 0)
    with serving(world, config):
        assert switches(van)[path] == "1"


def test_clients_go_on_without_the_agent_and_with_the_next_one(world: World, van: Namespace, config: Path) -> None:
    with contextlib.ExitStack() as stack:
        with serving(world, config) as agent:
            open_ = [stack.enter_context(flow(world, family, TCP)) for family in FAMILIES]
            agent.kill()
            assert all(echoed(one) for one in open_)
            assert None not in {begun(world, family) for family in FAMILIES}
        with serving(world, config) as agent:
            assert all(echoed(one) for one in open_)
            assert [uplink(van, one) for one in open_] == ["au"] * 2


def test_a_table_that_somebody_flushed_is_back_and_what_began_without_it_goes_on(
    world: World, van: Namespace, config: Path
) -> None:
    """Somebody else's rules have the connections tracked meanwhile."""
    with serving(world, config) as agent, contextlib.ExitStack() as stack:
        open_ = [stack.enter_context(flow(world, family, TCP)) for family in FAMILIES]
        start = len(agent.lines)
        with agent.stopped():  # it does not see at once
            nft(van, f"flush ruleset\n{TRACKING}")
            stray = stack.enter_context(world.clients[0].socket(AF[FAMILIES[0]], UDP))
            stray.connect((APP[FAMILIES[0]], NOBODYS_PORT))
            stray.send(b"12345678")
            assert translated(van, stray) is False
        agent.said("loading it again", start)

        def told(_: object) -> bool:
            with contextlib.suppress(ConnectionRefusedError):  # its server says that nobody is there
                stray.send(b"12345678")
            return translated(van, stray) is True

        agent.until(told)
        assert all(echoed(one) for one in open_)
        nft(van, "delete table inet theirs")


def translated(van: Namespace, one: socket.socket) -> bool | None:
    """Whether its replies would come to the box and not to the client; None where it is not tracked."""
    wanted = ends(one)
    source = wire.address_bytes(Family.of(wanted.source), wanted.source)
    with van.entered(), contextlib.closing(Netlink(NETLINK_NETFILTER)) as netlink:
        told = list(netlink.pieces(conntrack.IPCTNL_MSG_CT_GET, conntrack.HEAD.pack(0, 0, 0)))
    for body in (body for piece in told for body in piece.bodies):
        if conntrack.entry(body).flow == wanted:
            replies = dict(wire.attributes(body, conntrack.HEAD.size)).get(conntrack.CTA_TUPLE_REPLY, b"")
            return source not in replies
    return None


def nft(van: Namespace, text: str) -> None:
    with van.entered():
        subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)


def test_a_reload_makes_a_gateway_and_unmakes_it(world: World, van: Namespace, config: Path) -> None:
    """Unmade, clients are left alone: neither marked nor translated."""
    config.write_text(PLAIN)
    with running(van, config.parent, "--config", str(config)) as agent:
        agent.ready().all_up()
        config.write_text(CONFIG)
        assert call(agent.socket, "reload", {})["text"]
        until_ruled(van, 1)
        agent.until(lambda _: answered(world, FAMILIES[0]))
        config.write_text(PLAIN)
        call(agent.socket, "reload", {})
        until_ruled(van, 0)


def until_ruled(van: Namespace, count: int) -> None:
    """So many rules of each family are about the LAN."""
    with watching(van) as wait:
        wait(lambda found: len([rule for rule in found.rules if rule.priority == PREF_LAN]) == count * len(FAMILIES))


# --- who comes in ----------------------------------------------------------------------------------------------------


def asks(world: World, family: Family, server: socket.socket, port: int) -> bool:
    """Somebody beyond connects to the standby's address, and hears what the server says."""
    with world.ground.internet.socket(AF[family], TCP) as one:
        one.settimeout(PATIENCE)
        one.bind((APP[family], 0))
        one.connect((DOCOMO.address[family], port))
        with server.accept()[0] as made:
            made.send(b"!")
            return one.recv(10) == b"!"


@contextlib.contextmanager
def serves(space: Namespace, family: Family, address: str, port: int) -> Iterator[socket.socket]:
    with space.socket(AF[family], TCP) as server:
        server.settimeout(PATIENCE)
        server.bind((address, port))
        server.listen()
        yield server


def test_who_comes_in_by_a_standby_is_answered_by_it(world: World, van: Namespace, config: Path) -> None:
    """By the box itself, and by a client to whom a port is forwarded; each way is checked by strict filters."""
    lines = "".join(
        f"iifname {DOCOMO.interface} meta nfproto {family} tcp dport {FORWARDED} "
        f"dnat {'ip' if family is Family.IPV4 else 'ip6'} to {client_address(1)[family]}\n"
        for family in FAMILIES
    )
    nft(van, f"table inet forwards {{\nchain p {{\ntype nat hook prerouting priority dstnat\n{lines}}}\n}}")
    with serving(world, config):
        for family in FAMILIES:
            assert begun(world, family) == "au"
            with serves(van, family, DOCOMO.address[family], FORWARDED + 1) as server:
                assert asks(world, family, server, FORWARDED + 1)
            with serves(world.clients[0], family, client_address(1)[family], FORWARDED) as server:
                assert asks(world, family, server, FORWARDED)
    nft(van, "delete table inet forwards")


def test_an_agent_that_finds_all_else_in_place_forwards_too(tmp_path: Path) -> None:
    """Where nothing ever happens that would have the kernel read again."""
    path = tmp_path / "failover.yaml"
    path.write_text("uplinks: [{name: au, interface: wan0}]\ngateway: {lan: lan0}\n")
    forwarding = Path("/proc/sys/net/ipv4/conf/lan0/forwarding")
    with or_skip(), Namespace("still") as still:
        for name, index in (("wan0", 10), ("lan0", 20)):
            here, there = End(still, name, index), End(still, f"{name}-far", index + 1)
            cable(here, there)
            here.up()
            there.up()
            still.rtnl.add_address(index, f"10.{index}.0.2/24")
        still.rtnl.add_route(Route("default", 10, "10.10.0.1"))
        for _ in range(2):
            still.sysctl("ipv4/conf/lan0/forwarding", 0)
            with running(still, tmp_path, "--config", str(path)) as agent, still.entered():
                agent.ready().until(lambda _: forwarding.read_text() == "1\n")
                agent.kill()
