"""That the rig is what it says: the real ModemManager sees modems, and their packets pass while they should."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import dns.message
import pytest
from dbus_fast import Variant

from failover.lab.namespaces import Namespace
from failover.model import FAMILIES
from tests.agent.running import command, running, watching
from tests.enclosure import CHECKOUT, PATIENCE
from tests.modems.at import AtModem
from tests.modems.box import require
from tests.modems.carriers import AU, DOCOMO, RAKUTEN, SOFTBANK, Line, sim_of
from tests.modems.manager import BEARER, MESSAGING, MODEM, SIGNAL, SIM, SIMPLE, SMS, THREE_GPP, CallError
from tests.modems.mbim import MbimModem
from tests.modems.modem import Command, Dial, Manner, Modem, Registration, Strength, Technology
from tests.modems.rig import STATIC, Rig, imei

REGISTERED, CONNECTING, CONNECTED = 8, 10, 11
"""MMModemState."""
LOCKED = 2
"""MMModemLock: by the SIM's PIN."""
DHCP = 3
"""MMBearerIpMethod."""
BOTH = 4
"""MMBearerIpFamily: one bearer for IPv4 and IPv6."""
SHORT = 0.2
NOTICE = "ご利用料金のお支払いが確認できないため、10/9に利用停止いたします。" * 4


def test_the_command_tells_its_usage() -> None:
    for word, status in (("--help", 0), ("x", 2), ("9", 2)):
        argv = [sys.executable, "-m", "tests.modems", word]
        done = subprocess.run(argv, capture_output=True, text=True, cwd=CHECKOUT, timeout=PATIENCE, check=False)
        assert (done.returncode, "Traceback" in done.stderr) == (status, False)
        assert (done.stdout or done.stderr).startswith("usage: python -m tests.modems [-h] [AT_MODEMS]\n")


def message(rig: Rig, path: str) -> tuple[str, str]:
    """Number and text of the newest message, once it is whole; it is deleted."""
    (found, *_) = rig.manager.becomes(path, MESSAGING, "Messages", bool)
    rig.manager.becomes(found, SMS, "State", lambda state: state == 3)
    number, text = (rig.manager.get(found, SMS, name) for name in ("Number", "Text"))
    rig.manager.call(path, MESSAGING, "Delete", "o", found)
    return number, text


def test_both_modems_are_listed_with_what_identifies_them(rig: Rig, mbim: MbimModem, at: AtModem) -> None:
    for modem, plugin in ((mbim, "sierra"), (at, "fibocom")):
        path = rig.manager.listed(modem.imei)
        found = rig.manager.objects()[path][MODEM]
        assert (found["Device"], found["Plugin"]) == (modem.device.path, plugin)
        sim = modem.sim
        assert sim is not None
        assert rig.manager.get(found["Sim"], SIM, "SimIdentifier") == sim.iccid
        serial = rig.box.run("cat", f"{modem.device.path}/serial").stdout
        assert serial == f"{modem.device.serial}\n"
    slots = rig.manager.get(rig.manager.listed(mbim.imei), MODEM, "SimSlots")
    assert [rig.manager.get(slot, SIM, "SimType") for slot in slots] == [1, 2]  # the second is an eSIM


def test_packets_pass_while_there_is_a_bearer_and_its_carrier_forwards(rig: Rig, mbim: MbimModem) -> None:
    path = rig.manager.listed(mbim.imei)
    bearer = rig.manager.connect(path, "au.example", user="me", password="secret")
    assert mbim.counts.dials[-1] == Dial("au.example", "me", "secret")
    config = rig.manager.get(bearer, BEARER, "Ip4Config")
    assert config["method"] == STATIC
    assert config["mtu"] == Line(1).mtu
    rig.dress(mbim, bearer)
    assert rig.passes(mbim)
    with mbim.silent(slot=1):
        assert not rig.passes(mbim, SHORT)
        assert rig.manager.get(bearer, BEARER, "Connected")
    assert rig.passes(mbim)
    mbim.drop()
    assert not rig.passes(mbim, SHORT)
    rig.manager.becomes(bearer, BEARER, "Connected", lambda connected: not connected)
    assert rig.manager.get(bearer, BEARER, "ConnectionError")


@pytest.mark.parametrize("cure", [Command.CONNECT, Command.REGISTER, Command.POWER])
def test_a_blackout_ends_with_what_cures_it(rig: Rig, mbim: MbimModem, cure: Command) -> None:
    path = rig.manager.listed(mbim.imei)
    rig.dress(mbim, rig.manager.connect(path))
    assert rig.passes(mbim)
    mbim.black_out(until=cure)
    assert not rig.passes(mbim, SHORT)
    rig.manager.disconnect(path)
    if cure is Command.REGISTER:
        rig.manager.call(path, THREE_GPP, "Register", "s", AU.plmn)
    if cure is Command.POWER:
        mbim.power_cycle()
        path = rig.manager.listed(mbim.imei, but=path)
    bearer = rig.manager.connect(path)
    rig.undress(mbim)
    rig.dress(mbim, bearer)
    assert rig.passes(mbim)


@pytest.mark.parametrize("number", [1, 2])
def test_a_radio_that_is_switched_off_and_on_registers_anew(
    rig: Rig, mbim: MbimModem, at: AtModem, number: int
) -> None:
    modem = rig.modems[number]
    path, before = rig.manager.listed(modem.imei), modem.counts.registrations
    rig.manager.call(path, MODEM, "Enable", "b", False)
    for state in (2, 3):
        rig.manager.call(path, MODEM, "SetPowerState", "u", state)
    rig.manager.call(path, MODEM, "Enable", "b", True)
    rig.manager.becomes(path, MODEM, "State", lambda state: state == REGISTERED)
    assert modem.counts.registrations == before + 1


def test_it_sits_on_its_radio_until_a_reset(rig: Rig, mbim: MbimModem) -> None:
    path = rig.manager.listed(mbim.imei)
    rig.manager.call(path, MODEM, "Enable", "b", True)
    mbim.stick(Technology.UMTS)
    rig.manager.becomes(path, MODEM, "AccessTechnologies", (1 << 5).__eq__)
    rig.manager.call(path, MODEM, "Reset")
    path = rig.manager.listed(mbim.imei, but=path)
    rig.manager.call(path, MODEM, "Enable", "b", True)
    rig.manager.becomes(path, MODEM, "AccessTechnologies", (1 << 14).__eq__)


def test_another_profile_on_the_esim_is_another_sim(rig: Rig, mbim: MbimModem) -> None:
    path, old = rig.manager.listed(mbim.imei), mbim.sims[0]
    assert old is not None
    for sim in (sim_of(RAKUTEN, 7), old):
        rig.manager.inhibit(mbim.device, True)
        rig.manager.gone(path)
        mbim.exchange(1, sim)
        rig.manager.inhibit(mbim.device, False)
        path = rig.manager.listed(mbim.imei, but=path)
        assert rig.manager.get(rig.manager.get(path, MODEM, "Sim"), SIM, "SimIdentifier") == sim.iccid
        bearer = rig.manager.connect(path)
        rig.undress(mbim)
        rig.dress(mbim, bearer)
        assert mbim.bearer == sim.line
        assert rig.passes(mbim)


def test_both_families_and_the_names_come_by_the_bearer(rig: Rig, mbim: MbimModem) -> None:
    bearer = rig.manager.connect(rig.manager.listed(mbim.imei), ip_type=BOTH)
    rig.dress(mbim, bearer)
    assert all(rig.passes(mbim, family=family) for family in FAMILIES)
    asked = dns.message.make_query("example.com", "A")
    with rig.van.socket(socket.AF_INET, socket.SOCK_DGRAM) as resolver:
        resolver.settimeout(PATIENCE)
        resolver.connect((rig.manager.get(bearer, BEARER, "Ip4Config")["dns1"], 53))
        resolver.send(asked.to_wire())
        assert dns.message.from_wire(resolver.recv(4096)).answer


def test_a_silent_drop_is_nobodys_news(rig: Rig, mbim: MbimModem) -> None:
    bearer = rig.manager.connect(rig.manager.listed(mbim.imei))
    rig.dress(mbim, bearer)
    assert rig.passes(mbim)
    mbim.drop_silently()
    assert not rig.passes(mbim, SHORT)
    assert rig.manager.get(bearer, BEARER, "Connected")


def test_another_slot_is_another_object_address_and_carrier(rig: Rig, mbim: MbimModem) -> None:
    path = rig.manager.listed(mbim.imei)
    rig.dress(mbim, rig.manager.connect(path))
    assert rig.passes(mbim)
    for slot, carrier in ((2, DOCOMO), (1, AU)):
        rig.manager.call(path, MODEM, "SetPrimarySimSlot", "u", slot)
        rig.manager.gone(path)
        assert not rig.passes(mbim, SHORT)  # from the address of the other one
        path = rig.manager.listed(mbim.imei, but=path)
        assert rig.manager.get(path, MODEM, "PrimarySimSlot") == slot
        bearer = rig.manager.connect(path)
        assert mbim.bearer == Line(slot)
        assert rig.manager.get(path, THREE_GPP, "OperatorCode") == carrier.plmn
        rig.undress(mbim)
        rig.dress(mbim, bearer)
        assert rig.passes(mbim)


def test_an_at_modem_is_reset_and_comes_back_as_another_object(rig: Rig, at: AtModem) -> None:
    path = rig.manager.listed(at.imei)
    bearer = rig.manager.connect(path)
    assert rig.manager.get(bearer, BEARER, "Ip4Config") == {"method": DHCP}
    at.drop()
    rig.manager.becomes(bearer, BEARER, "Connected", lambda connected: not connected)
    before = at.counts.resets
    rig.manager.call(path, MODEM, "Reset")
    rig.manager.gone(path)
    rig.manager.listed(at.imei, but=path)
    assert at.counts.resets == before + 1


def test_an_unplugged_modem_is_gone_and_back_with_another_interface(rig: Rig, mbim: MbimModem) -> None:
    path, index = rig.manager.listed(mbim.imei), mbim.radio.index
    mbim.unplug()
    rig.manager.gone(path)
    mbim.replug("wwan7")
    path = rig.manager.listed(mbim.imei, but=path)
    assert (mbim.interface, mbim.radio.index != index) == ("wwan7", True)
    rig.dress(mbim, rig.manager.connect(path))
    assert rig.passes(mbim)


@pytest.mark.parametrize("number", [1, 2])
def test_messages_arrive_in_parts_and_are_whole(rig: Rig, mbim: MbimModem, at: AtModem, number: int) -> None:
    modem = rig.modems[number]
    path = rig.manager.listed(modem.imei)
    rig.manager.call(path, MODEM, "Enable", "b", True)
    modem.deliver("+818011112222", NOTICE)
    assert message(rig, path) == ("+818011112222", NOTICE)
    modem.deliver("KDDI", "Data cap reached: 20 GB")
    assert message(rig, path) == ("KDDI", "Data cap reached: 20 GB")


def test_registration_radio_and_signal_are_told(rig: Rig, mbim: MbimModem, at: AtModem) -> None:
    # ModemManager 1.20 calls an MBIM modem that was denied idle, and says 5G where LTE is its anchor
    for modem, denied, technology, bits in ((mbim, 0, Technology.NR, 0xC000), (at, 3, Technology.UMTS, 1 << 5)):
        path = rig.manager.listed(modem.imei)
        rig.manager.call(path, MODEM, "Enable", "b", True)
        rig.manager.becomes(path, THREE_GPP, "RegistrationState", lambda state: state == 1)
        modem.register(Registration.DENIED)
        rig.manager.becomes(path, THREE_GPP, "RegistrationState", denied.__eq__)
        modem.register(Registration.ROAMING, technology)
        rig.manager.becomes(path, THREE_GPP, "RegistrationState", lambda state: state == 5)
        rig.manager.becomes(path, MODEM, "AccessTechnologies", bits.__eq__)
        modem.measure(Strength(-101.0, -12.0, 7.0))
        rig.manager.call(path, SIGNAL, "Setup", "u", 1)
        level = rig.manager.becomes(path, SIGNAL, "Lte", lambda level: level and level["rsrp"] == -101.0)
        assert level["rsrq"] == -12.0
        assert level.get("snr", 7.0) == 7.0


def test_what_is_refused_or_never_answered(rig: Rig, mbim: MbimModem) -> None:
    path = rig.manager.listed(mbim.imei)
    mbim.fail(Command.CONNECT, cause=33)
    with pytest.raises(CallError) as refused:
        rig.manager.connect(path)
    assert refused.value.name.endswith("MobileEquipment.ServiceOptionNotSubscribed")
    mbim.fail(Command.CONNECT, Manner.IGNORE)
    dials = len(mbim.counts.dials)
    rig.manager.start(path, SIMPLE, "Connect", "a{sv}", {"apn": Variant("s", "internet")})
    rig.manager.becomes(path, MODEM, "State", lambda state: state == CONNECTING)
    assert len(mbim.counts.dials) == dials


@pytest.mark.parametrize("kind", ["mbim", "at"])
def test_a_locked_sim_counts_wrong_pins_and_opens_with_the_right_one(rig: Rig, kind: str) -> None:
    sim = sim_of(SOFTBANK, 5, pin="1234")
    modem = rig.mbim(3, [sim, sim_of(RAKUTEN, 6)]) if kind == "mbim" else rig.at(3, sim)
    path = rig.manager.listed(imei(3))
    assert rig.manager.get(path, MODEM, "UnlockRequired") == LOCKED
    card = rig.manager.get(path, MODEM, "Sim")
    with pytest.raises(CallError):
        rig.manager.call(card, SIM, "SendPin", "s", "0000")
    assert (sim.retries, modem.counts.pins) == (2, ["0000"])
    rig.manager.becomes(path, MODEM, "UnlockRetries", lambda retries: retries[LOCKED] == 2)
    rig.manager.call(card, SIM, "SendPin", "s", "1234")
    rig.manager.becomes(path, MODEM, "UnlockRequired", lambda lock: lock != LOCKED)
    rig.remove(modem)


def test_two_mbim_modems_have_a_carrier_each(rig: Rig, mbim: MbimModem) -> None:
    other = rig.mbim(3, [sim_of(SOFTBANK, 5)])
    for modem in (mbim, other):
        rig.dress(modem, rig.manager.connect(rig.manager.listed(modem.imei)))
    assert (mbim.bearer, other.bearer) == (Line(1), Line(5))
    with mbim.silent():
        assert not rig.passes(mbim, SHORT)
        assert rig.passes(other)
    assert rig.passes(mbim)
    rig.remove(other)


def test_after_a_kill_of_modem_manager_the_modems_are_found_again(rig: Rig, mbim: MbimModem, at: AtModem) -> None:
    rig.box.kill_modem_manager()
    with pytest.raises(CallError) as gone:
        rig.manager.objects()
    assert gone.value.name.endswith("ServiceUnknown")
    rig.start()
    for modem in (mbim, at):
        rig.manager.listed(modem.imei)


def test_the_agent_can_run_in_the_box(rig: Rig, mbim: MbimModem, tmp_path: Path) -> None:
    rig.dress(mbim, rig.manager.connect(rig.manager.listed(mbim.imei)))
    with running(rig.inside, tmp_path) as agent:
        agent.ready().until(lambda status: [up["families"]["ipv4"]["verdict"] for up in status["uplinks"]] == ["up"])
        agent.hold(SHORT)
        assert agent.stop()[0] == 0
    command(rig.van, "cleanup", "--force", "--socket", str(agent.socket), "--state", str(tmp_path))


def test_a_manager_that_hangs_answers_afterwards(rig: Rig, mbim: MbimModem) -> None:
    path = rig.manager.listed(mbim.imei)
    assert rig.box.modem_manager is not None
    with rig.box.hanging(rig.box.modem_manager):
        rig.manager.start(path, MODEM, "Enable", "b", True)
        mbim.drop()
    rig.manager.becomes(path, MODEM, "State", lambda state: state == REGISTERED)


def test_network_manager_connects_by_profiles_static_and_dhcp(
    van: Namespace, rig: Rig, mbim: MbimModem, at: AtModem
) -> None:
    require("NetworkManager")
    modems: tuple[Modem, ...] = (mbim, at)
    for modem, port, metric in zip(modems, ("cdc-wdm0", "ttyUSB3"), (700, 701), strict=True):
        rig.manager.listed(modem.imei)
        rig.box.profile(port, port, metric=metric)
    rig.box.start_network_manager()
    wanted = {(mbim.radio.index, 700), (at.radio.index, 701)}
    with watching(van) as wait:
        wait(lambda facts: wanted <= {(one.interface, one.metric) for one in facts.routes})
    assert [rig.passes(modem) for modem in modems] == [True, True]
    assert rig.manager.get(rig.manager.listed(mbim.imei), MODEM, "State") == CONNECTED
    rig.box.kill_network_manager()


def test_root_may_and_a_user_may_not(rig: Rig, mbim: MbimModem) -> None:
    """The real polkitd decides; which rule lets the agent's user is not the rig's business."""
    path = rig.manager.listed(mbim.imei)
    argv = ["setpriv", "--reuid=905", "--regid=905", "--clear-groups", "mmcli", "--modem", path.rpartition("/")[2]]
    assert rig.box.run(*argv).returncode == 0
    assert rig.box.run(*argv, "--enable").returncode != 0
    assert rig.box.run(*argv[4:], "--enable").returncode == 0
