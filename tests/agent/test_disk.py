"""The running agent on disks that hang or are full, with anything but its own files in the state directory, and killed
while it writes them.

Whatever becomes of the disk, traffic is moved as fast, it is said once, and what happened can be asked for.
FAILOVER_SEED: which dice for the kills (else they are thrown anew and told).
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from failover.export import journal
from failover.export.client import call
from failover.export.memory import NAME
from failover.lab import faults
from failover.lab.namespaces import Namespace
from failover.lab.world import World
from failover.model import NoticeKind
from tests.agent.running import Agent, command, facts, running, watching
from tests.agent.test_devices import NEEDS_IP, ip
from tests.agent.test_life import active
from tests.agent.test_trouble import on_small_disk
from tests.export.disks import NEEDS_ROOT, among_own_mounts, frozen, mount_ext4

SWITCHED = 4.0
"""Seconds within which a blackout is left, on a busy machine; a disk that is waited for hangs longer."""
STARTED = 4.0
"""The same for a start; a second of it is the most that a disk is waited for."""
MEMORY_MAX = 60_000
"""kB; 38,000 are usual."""
PRECIOUS = b"somebody else's\n"
KILLS = 8
CONFIG = "uplinks: [{name: au, interface: wwan0}, {name: docomo, interface: wwan1}, {name: depot, interface: wlan0}]\n"


def blackout_is_left(world: World, agent: Agent) -> float:
    """Seconds until new flows go by another uplink; lasts until all do, for a doubt alone is not written down."""
    with watching(agent.namespace) as wait, faults.blackout(world, "au"):
        seconds = wait(lambda found: active(found) == "wwan1")
        agent.said("switch: ipv4 forwarded traffic wwan0 -> wwan1")
    return seconds


def warnings(agent: Agent) -> list[str]:
    return [line.removeprefix("failover: warning: ") for line in agent.lines if "failover: warning: " in line]


def past(agent: Agent) -> list[str]:
    """The kinds of what happened, as `failover events` tells them."""
    exit_status, out, err = command(agent.namespace, "events", "--socket", str(agent.socket))
    assert (exit_status, err) == (0, "")
    return re.findall(r"^.*?  \S+  (\w+): ", out, re.MULTILINE)


# --- disks -----------------------------------------------------------------------------------------------------------


@NEEDS_ROOT
@NEEDS_IP
def test_a_disk_that_hangs_keeps_it_from_nothing(world: World, van: Namespace, tmp_path: Path) -> None:
    """Neither from starting, nor from leaving an uplink, nor from what a device that appears is owed."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def body() -> None:
        mount_ext4(disk, tmp_path / "image")
        with running(van, tmp_path, "--state", str(disk)) as agent:
            with frozen(disk):
                begun = time.monotonic()
                agent.ready()
                assert time.monotonic() - begun < STARTED
                agent.all_up()
                assert blackout_is_left(world, agent) < SWITCHED
                assert "switch" in past(agent)
                begun = time.monotonic()
                appear(van)
                with watching(van) as wait:
                    wait(lambda _: linkdown_of(van, "wan9") == "1")
                assert agent.status()["agent"]["pid"] == agent.process.pid
                assert time.monotonic() - begun < SWITCHED
                agent.said(f"{disk}: the disk has not answered for ")
            agent.said(f"{disk} is written to again; nothing lost")
            assert len(warnings(agent)) == 2, agent.lines
            assert agent.stop()[0] == 0
        assert NoticeKind.SWITCH in [entry.kind for entry in journal.read(disk)]
        assert (disk / "memory.json").exists()

    try:
        among_own_mounts(body)
    finally:
        ip(van, "link", "del", "wan9")


def appear(van: Namespace) -> None:
    """A device with a way out, as a modem that is plugged in."""
    ip(van, "link", "add", "wan9", "type", "veth", "peer", "name", "wan9p")
    for end in ("wan9", "wan9p"):
        ip(van, "link", "set", end, "up")
    ip(van, "address", "add", "10.9.1.2/24", "dev", "wan9")
    ip(van, "route", "add", "default", "via", "10.9.1.1", "dev", "wan9", "metric", "900")


def linkdown_of(van: Namespace, interface: str) -> str:
    with van.entered():
        return Path(f"/proc/sys/net/ipv4/conf/{interface}/ignore_routes_with_linkdown").read_text().strip()


def test_a_full_disk_is_said_once_and_all_is_written_when_there_is_room(
    world: World, van: Namespace, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    with running(van, tmp_path, "--state", str(state), command=on_small_disk(state)) as agent:
        agent.ready().all_up()
        assert blackout_is_left(world, agent) < SWITCHED
        agent.said(f"{state}: No space left on device; what happens is kept in memory meanwhile")
        assert "switch" in past(agent)
        seen = Path(f"/proc/{agent.process.pid}/root{state}")
        (seen / "filler").unlink()
        agent.said(f"{state} is written to again; nothing lost")
        agent.until(lambda _: NoticeKind.SWITCH in [entry.kind for entry in journal.read(seen)])
        assert len(warnings(agent)) == 2, agent.lines
        assert agent.stop()[0] == 0


def test_files_of_half_a_gigabyte_cost_neither_time_nor_memory(world: World, van: Namespace, tmp_path: Path) -> None:
    for name in (journal.CURRENT, journal.OLD, "memory.json"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(500 << 20)
    begun = time.monotonic()
    with running(van, tmp_path) as agent:
        agent.ready()
        assert time.monotonic() - begun < STARTED
        agent.all_up()
        assert blackout_is_left(world, agent) < SWITCHED
        assert "switch" in past(agent)
        status = Path(f"/proc/{agent.process.pid}/status").read_text()
        assert int(re.findall(r"VmHWM:\s*(\d+) kB", status)[0]) < MEMORY_MAX
        assert [line.rpartition(": ")[2] for line in warnings(agent)] == ["it is too long"]
        assert agent.stop()[0] == 0
    assert (tmp_path / journal.CURRENT).stat().st_size < 1 << 20
    assert (tmp_path / "memory.json").stat().st_size < 1 << 20


# --- what is not its own ---------------------------------------------------------------------------------------------


def pipe(place: Path) -> None:
    os.mkfifo(place)


def folder(place: Path) -> None:
    place.mkdir()
    (place / "somebody").write_bytes(PRECIOUS)


def link(place: Path) -> None:
    """To a file of somebody else's."""
    victim(place).write_bytes(PRECIOUS)
    place.symlink_to(victim(place))


def loop(place: Path) -> None:
    place.symlink_to(place)


def victim(place: Path) -> Path:
    return place.parent.parent / "victim"


LOOP, MEANWHILE = "Too many levels of symbolic links", "what happens is kept in memory meanwhile"
UNREAD, UNUSED = (
    "the journal in {} cannot be read: ",
    "{}/memory.json is not used, and nothing is remembered of earlier: ",
)
INSTEAD: list[tuple[str, Callable[[Path], None], list[str]]] = [
    ("journal.jsonl", pipe, [UNREAD + "Not a regular file", "{}: journal.jsonl: Not a regular file; " + MEANWHILE]),
    ("journal.jsonl", folder, [UNREAD + "Not a regular file", "{}: journal.jsonl: Is a directory; " + MEANWHILE]),
    ("journal.jsonl", link, [UNREAD + LOOP, "{}: journal.jsonl: " + LOOP + "; " + MEANWHILE]),
    ("journal.jsonl", loop, [UNREAD + LOOP, "{}: journal.jsonl: " + LOOP + "; " + MEANWHILE]),
    ("journal.old.jsonl", folder, [UNREAD + "Not a regular file"]),
    ("memory.json", pipe, [UNUSED + "Not a regular file"]),
    ("memory.json", folder, [UNUSED + "Not a regular file", "{}: memory.json: Is a directory; " + MEANWHILE]),
    ("memory.json", link, [UNUSED + LOOP]),
    ("memory.json.new", pipe, []),
    ("memory.json.new", folder, ["{}: memory.json.new: Is a directory; " + MEANWHILE]),
    ("memory.json.new", link, []),
]


@pytest.mark.parametrize(
    ("name", "make", "said"), INSTEAD, ids=[f"{name}-{make.__name__}" for name, make, _ in INSTEAD]
)
def test_what_stands_in_place_of_a_file_is_not_followed_nor_waited_for(
    van: Namespace, tmp_path: Path, name: str, make: Callable[[Path], None], said: list[str]
) -> None:
    state = tmp_path / "state"
    state.mkdir()
    make(state / name)
    with running(van, tmp_path, "--state", str(state)) as agent:
        agent.ready()
        call(agent.socket, "use", {"name": "wwan1"})
        for words in said:
            agent.said(words.format(state))
        assert "operator" in past(agent)
        exit_status, lines = agent.stop()
        assert exit_status == 0
        assert warnings(agent)[: len(said)] == [words.format(state) for words in said]
        assert [line for line in warnings(agent)[len(said) :] if "entries are not on disk" not in line] == [], lines
    if make is link:
        assert victim(state / name).read_bytes() == PRECIOUS
    if make is folder:
        assert (state / name / "somebody").read_bytes() == PRECIOUS


@pytest.mark.parametrize("make", [link, loop, pipe], ids=["file", "loop", "pipe"])
def test_a_state_directory_that_is_none_is_said(van: Namespace, tmp_path: Path, make: Callable[[Path], None]) -> None:
    state = tmp_path / "home" / "state"
    state.parent.mkdir()
    make(state)
    with running(van, tmp_path, "--state", str(state)) as agent:
        assert f"{state}: journal.jsonl: " in agent.ready().said(MEANWHILE)
        assert facts(van).rules
        assert "ready" in past(agent)
        assert agent.stop()[0] == 0


# --- killed ----------------------------------------------------------------------------------------------------------

Will = tuple[object, ...]
COMMANDS: list[tuple[str, dict[str, object]]] = [
    ("use", {"name": "docomo"}),
    ("use", {"name": "depot"}),
    ("drain", {"name": "au", "force": True}),
    ("undrain", {"name": "au"}),
    ("auto", {}),
    ("reload", {}),
]


def will(agent: Agent) -> Will:
    """What the operator wants, as the agent has it."""
    status = agent.status()
    use = status["use"] and status["use"]["name"]
    return use, *(one["name"] for one in status["uplinks"] if one["drained"])


def is_remembered(state: Path, wanted: Will, _: object) -> bool:
    """Whether it is on disk."""
    if not (state / NAME).exists():
        return wanted == (None,)
    memory = json.loads((state / NAME).read_text())["memory"]
    return (memory["use"], *memory["drained"]) == wanted


def command_it(agent: Agent, dice: random.Random) -> Will:
    """Tell it something that it takes; what the operator wants from then on."""
    word, arguments = dice.choice(COMMANDS)
    call(agent.socket, word, arguments)
    return will(agent)


def test_killed_at_any_moment_it_keeps_the_operators_will_and_what_happened(van: Namespace, tmp_path: Path) -> None:
    """What was acknowledged is in force again; of the last moment before the kill it may be what was so before."""
    seed = int(os.environ.get("FAILOVER_SEED") or random.SystemRandom().randrange(10**6))
    print(f"again with: FAILOVER_SEED={seed}")
    dice, ids, wills = random.Random(seed), list[str](), list[Will]()
    config, state = tmp_path / "failover.yaml", tmp_path / "state"
    config.write_text(CONFIG)
    for _ in range(KILLS):
        with running(van, tmp_path, "--config", str(config), "--state", str(state)) as agent:
            if dice.random() < 0.3:
                agent.hear(dice.uniform(0.0, 0.5))
                agent.kill()
            else:
                found = will(agent.ready())
                assert found in wills or not wills, (found, wills)
                wills = [found, *(command_it(agent, dice) for _ in range(dice.randint(1, 6)))]
                agent.process.send_signal(dice.choice((signal.SIGHUP, signal.SIGCONT)))
                if dice.random() < 0.5:
                    wills = wills[-1:]
                    agent.until(partial(is_remembered, state, wills[0]))
                agent.kill()
            ids += filter(None, agent.ids)
            assert not [line for line in warnings(agent) if str(state) in line], agent.lines
    assert len(set(ids)) == len(ids)
    written = [entry.id for entry in journal.read(state)]
    assert len(written) > KILLS
    assert set(written) <= set(ids)
