"""The demo's picture, scene by scene, and the strip that it draws."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence

from rich.console import Console

from failover.lab.places import APP, CARRIERS, ECHO_PORT, MULTIPATH_PORT, NEW_FLOW, client_address
from failover.lab.screen import SPARKS, Scene, picture, spark
from failover.lab.strip import CELL, GRACE, GUESTS, KEPT, STREAM, Shown, State, Strip
from failover.model import FAMILIES, Family

V4, V6 = FAMILIES


def drawn(scene: Scene, width: int = 100) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width, markup=False, highlight=False).print(picture(scene))
    return [line.rstrip() for line in out.getvalue().splitlines()]


def status(active: str | None, **verdicts: str) -> dict[str, object]:
    """Both families alike."""
    views = {
        name: {family.value: {"verdict": verdict, "rtt_seconds": 0.03} for family in FAMILIES}
        for name, verdict in verdicts.items()
    }
    return {
        "active": {family.value: active for family in FAMILIES},
        "uplinks": [{"name": name, "families": families} for name, families in views.items()],
    }


OUTAGE = Scene(
    act="blackout",
    title="silent blackout of the preferred carrier",
    number=2,
    acts=4,
    playing="au: nothing passes",
    seconds=6.25,
    status=status("docomo", au="doubtful", docomo="up", depot="up"),
    rtts={"au": (0.031, None), "docomo": (0.031, 0.19)},
    strips={
        V4: (Shown(State.SERVED, "wwan0"), Shown(State.LOST, "wwan0"), Shown(State.PARTLY, "wwan1")),
        V6: (Shown(State.NONE), Shown(State.SERVED, "wwan1"), Shown(State.SERVED, "wwan1")),
        STREAM: (Shown(State.SERVED, "wwan0"), Shown(State.SERVED, "wwan1")),
        GUESTS: (Shown(State.LOST, "wwan0"),),
    },
)


def test_a_scene_shows_the_act_the_uplinks_and_the_traffic() -> None:
    lines = drawn(OUTAGE)
    assert lines[1] == " act 2 of 4  ●◐○○ blackout: silent blackout of the preferred carrier"
    assert lines[2] == "   6.2 s  au: nothing passes"
    rows = {line[3:].split()[0]: line for line in lines[4:7]}
    assert list(rows) == [carrier.name for carrier in CARRIERS]
    assert rows["docomo"].startswith("➤")
    assert rows["docomo"].split()[2:6] == ["wwan1", "up", "*", "up"]
    assert rows["docomo"].endswith("▂█  190 ms")
    assert rows["au"].startswith(" ")
    assert rows["au"].split()[2:4] == ["doubtful", "doubtful"]
    assert rows["au"].endswith("▂·")
    assert lines[7:10] == ["new flows ipv4  █×▒", "          ipv6   ██", "MPTCP stream    ██"]
    assert lines[10] == "LAN, new flows  ×"
    assert lines[11].split() == [
        "█",
        "by",
        "au",
        "█",
        "by",
        "docomo",
        "█",
        "by",
        "depot",
        "▒",
        "some",
        "lost",
        "×",
        "lost",
    ]


def test_while_the_agent_is_dead_the_traffic_is_still_shown() -> None:
    lines = drawn(Scene("kill", "", 1, 1, strips=OUTAGE.strips))
    assert sum("no agent" in line for line in lines) == len(CARRIERS)
    assert "➤" not in "".join(lines)
    assert "new flows ipv4  █×▒" in lines


def test_no_line_is_wider_than_the_terminal_and_every_picture_is_as_high() -> None:
    wide = Scene("act", "title " * 50, 1, 13, "playing " * 50, strips={V4: [Shown(State.SERVED, "wwan0")] * 300})
    assert {len(drawn(scene, width=72)) for scene in (Scene("a", "b", 1, 1), OUTAGE, wide)} == {12}
    assert max(len(line) for line in drawn(wide, width=72)) <= 72


def test_what_the_agent_says_is_never_markup() -> None:
    assert " act 1 of 1  ◐ [red]x[/]: " in drawn(Scene("[red]x[/]", "", 1, 1))[1] + " "


def test_a_spark_is_full_at_the_top_and_keeps_its_width() -> None:
    assert spark((0.0, 0.1, 0.2, 9.0)).plain == "·" * (SPARKS - 4) + "▁▅██ 9000 ms"
    assert spark(()).plain == "·" * SPARKS
    assert spark((0.03,) * 99).cell_len == SPARKS + len("   30 ms")


# --- the strip -------------------------------------------------------------------------------------------------------


def packet(family: Family, port: int, *, leaves: bool, payload: bytes = NEW_FLOW, app: str = "") -> bytes:
    """A UDP packet of the user, or its echo; checksums are nobody's business here."""
    import ipaddress

    user = ipaddress.ip_address("10.1.1.2" if family is V4 else "2001:db8:1::2").packed
    there = ipaddress.ip_address(app or APP[family]).packed
    source, target = (user, there) if leaves else (there, user)
    ports = (port, ECHO_PORT) if leaves else (ECHO_PORT, port)
    udp = struct.pack("!HHHH", *ports, 8 + len(payload), 0) + payload
    if family is V4:
        return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0) + source + target + udp
    return struct.pack("!IHBB", 6 << 28, len(udp), 17, 64) + source + target + udp


OWN = {family: CARRIERS[0].address[family].encode() for family in FAMILIES}


def segment(*, leaves: bool, data: bytes = b"12345678", port: int = MULTIPATH_PORT) -> bytes:
    """Of a stream, IPv4, with twelve bytes of options."""
    there, user = bytes(map(int, APP[V4].split("."))), b"\x0a\1\1\2"
    source, target = (user, there) if leaves else (there, user)
    ports = (2000, port) if leaves else (port, 2000)
    tcp = struct.pack("!HH8xB7x12x", *ports, (20 + 12) // 4 << 4) + data
    return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0) + source + target + tcp


def play(strip: Strip, at: float, count: int, answered: int, family: Family = V4, first: int = 1000) -> None:
    for port in range(first, first + count):
        strip.packet(at, "wwan0", packet(family, port, leaves=True))
    for port in range(first, first + answered):
        strip.packet(at + 0.03, "wwan1", packet(family, port, leaves=False))


def states(strip: Strip, now: float, count: int, family: Family = V4) -> Sequence[State]:
    return [cell.state for cell in strip.last(now, family, count)]


def test_each_cell_tells_what_became_of_its_flows() -> None:
    strip = Strip()
    for cell, answered in enumerate((20, 18, 17, 0)):
        play(strip, 100.0 + cell * CELL + 0.01, 20, answered, first=1000 + 100 * cell)
    now = 100.0 + 4 * CELL + GRACE + 0.01
    assert states(strip, now, 5) == [State.NONE, State.SERVED, State.SERVED, State.PARTLY, State.LOST]
    assert strip.last(now, V4, 2)[-1].interface == "wwan0"
    assert states(strip, now, 2, V6) == [State.NONE] * 2


def test_a_cell_is_shown_when_its_echoes_could_be_there_and_a_late_one_repairs_it() -> None:
    strip = Strip()
    play(strip, 100.01, 10, 0, V6)
    assert states(strip, 100.0 + CELL + GRACE - 0.01, 1, V6) == [State.NONE]
    assert states(strip, 100.0 + CELL + GRACE + 0.01, 1, V6) == [State.LOST]
    for port in range(1000, 1010):
        strip.packet(101.0, "wwan0", packet(V6, port, leaves=False))
    assert states(strip, 100.0 + CELL + GRACE + 0.01, 1, V6) == [State.SERVED]


def test_only_new_flows_of_the_user_count() -> None:
    strip = Strip()
    others = [
        b"",
        b"\x45",
        bytes(60),
        packet(V4, 1000, leaves=True, payload=b"12345678"),
        packet(V4, 1000, leaves=True, app="9.9.9.9"),
        packet(V4, 1000, leaves=False),
        packet(V6, 1000, leaves=True)[:47],
        segment(leaves=True)[:31],
    ]
    for other in others:
        strip.packet(100.0, "wwan0", other)
    assert states(strip, 100.5, 3) == [State.NONE] * 3
    assert states(strip, 100.5, 3, V6) == [State.NONE] * 3


def test_what_a_client_says_is_known_behind_the_translation() -> None:
    strip = Strip()
    for family in FAMILIES:
        said = NEW_FLOW + client_address(1)[family].encode()
        strip.packet(100.01, "wwan0", packet(family, 1000, leaves=True, payload=said))
        strip.packet(100.04, "wwan0", packet(family, 1000, leaves=False, payload=said))
        strip.packet(100.05, "wwan0", packet(family, 1001, leaves=True, payload=NEW_FLOW + OWN[family]))
    shown = {row: strip.last(100.0 + CELL + GRACE + 0.01, row, 1)[0].state for row in (*FAMILIES, GUESTS)}
    assert shown == {V4: State.LOST, V6: State.LOST, GUESTS: State.SERVED}


def test_a_stream_is_served_while_data_comes_back() -> None:
    """Acknowledgements alone do not count, nor do other connections."""
    strip = Strip()
    for cell, answers in enumerate((10, 8, 2, 0)):
        at = 100.0 + cell * CELL + 0.01
        for _ in range(10):
            strip.packet(at, "wwan1", segment(leaves=True))
            strip.packet(at, "wwan0", segment(leaves=True, data=b""))
            strip.packet(at, "wwan0", segment(leaves=True, port=ECHO_PORT))
            strip.packet(at + 0.03, "wwan1", segment(leaves=False, data=b""))
        for _ in range(answers):
            strip.packet(at + 0.03, "wwan1", segment(leaves=False))
    shown = strip.last(100.0 + 4 * CELL + GRACE + 0.01, STREAM, 4)
    assert [cell.state for cell in shown] == [State.SERVED, State.SERVED, State.PARTLY, State.LOST]
    assert {cell.interface for cell in shown} == {"wwan1"}


def test_the_strip_is_bounded() -> None:
    strip = Strip()
    for number in range(KEPT + 50):
        play(strip, 100.0 + number * CELL + 0.01, 1, 1)
    assert (
        len([state for state in states(strip, 100.0 + (KEPT + 51) * CELL, 10 * KEPT) if state is State.SERVED]) == KEPT
    )
