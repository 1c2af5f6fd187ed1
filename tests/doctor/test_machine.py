"""The machine that the agent would be started on: rights, limits, clock, kernel, what is writable below /proc/sys."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

from failover.doctor import trial
from failover.doctor.finding import Level
from failover.facts import Route, Rule
from failover.model import FAMILIES
from tests.agent.running import running
from tests.doctor.patient import ORDINARY, RUN, Patient, speaking

DUMPABLE = "import ctypes\nctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE: as after an exec\n"
UNBOUND = "import ctypes\nfor bit in (12, 13): ctypes.CDLL(None).prctl(24, bit, 0, 0, 0)  # PR_CAPBSET_DROP\n"
"""No child can be given CAP_NET_ADMIN or CAP_NET_RAW; this process keeps what it has until it becomes another."""
FEW = "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, ({0}, {0}))\n"
CLOCK = """
import ctypes
class Library(ctypes.CDLL):
    def adjtimex(self, timex):
        timex._obj.status = {0}
        return 0
ctypes.CDLL = Library
"""
"""A C library that says this of the wall clock."""
AGENT = "import sys\nfrom failover.cli import main\nsys.exit(main(sys.argv[1:]))\n"
FREEZE = 'mount --bind /proc/sys /proc/sys && mount -o remount,ro,bind /proc/sys && exec "$@"'
READ_ONLY = ("unshare", "--mount", "sh", "-c", FREEZE, "sh")
"""/proc/sys as containers and ProtectKernelTunables=yes show it."""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")


# --- config ----------------------------------------------------------------------------------------------------------


def test_a_good_config(patient: Patient) -> None:
    patient.says("config", Level.OK, f"{patient.config} is fine; it is not in force, as no agent runs")


def test_what_is_in_force_is_what_the_agent_reads(patient: Patient) -> None:
    (other := patient.home / "other.yaml").write_text("dns: none\n")
    for path, said in ((patient.config, "is in force"), (other, f"is not in force, as the agent reads {other}")):
        answer = {"ok": True, "status": {"agent": {"version": "0"}, "config": {"path": str(path)}}}
        with speaking(patient, json.dumps(answer).encode() + b"\n"):
            patient.says("config", Level.OK, f"{patient.config} is", said)


def test_every_problem_of_a_config(patient: Patient) -> None:
    patient.config.write_text("uplinks: 7\nmetrics: {listn: 127.0.0.1:9109}\n")
    found = patient.check("config")
    assert [finding.level for finding in found] == [Level.FAILURE, Level.FAILURE, Level.NOTE]
    assert "unknown key" in found[1].text
    assert found[1].mend == "did you mean 'listen'?"
    assert {finding.level for finding in patient.check("uplinks")} == {Level.OK}, "the others go by the defaults"


def test_a_config_that_is_not_there(patient: Patient) -> None:
    patient.config.unlink()
    missing, default = patient.check("config")
    assert (missing.level, default.level) == (Level.FAILURE, Level.NOTE)
    assert str(patient.config) in missing.text


@as_root
@pytest.mark.parametrize("guarded", ["the file", "its directory"])
def test_a_config_that_this_user_may_not_read(patient: Patient, guarded: str) -> None:
    home = Path(tempfile.mkdtemp(dir="/tmp"))
    try:
        patient.config = home / "failover.yaml"
        patient.configure()
        home.chmod(0o700 if guarded == "its directory" else 0o755)
        patient.config.chmod(0o600)
        (finding,) = patient.told("config", before=ORDINARY)["config"]
    finally:
        shutil.rmtree(home)
    assert finding["level"] == "note"
    assert "this user may not read it" in finding["text"]


def test_what_is_doubtful_in_a_config(patient: Patient) -> None:
    patient.configure(targets=["icmp://203.0.113.1", "icmp://203.0.113.2"])
    patient.says("config", Level.WARNING, "no IPv6 target")


# --- rights and limits -----------------------------------------------------------------------------------------------


def test_root_has_what_it_takes(patient: Patient) -> None:
    patient.says("capabilities", Level.OK)


@as_root
def test_an_ordinary_user_hears_what_could_not_be_checked(patient: Patient) -> None:
    for_root = {
        "capabilities": "this user lacks them",
        "marks of the firewall": "not looked at: ",
        "state directory": "this user may not write to",
        "socket directory": "this user may not write to",
        "probes": "none was sent: CAP_NET_ADMIN and CAP_NET_RAW missing",
    }
    found = patient.told(*for_root, "uplinks", "our tables and prefs", before=ORDINARY)
    for name, words in for_root.items():
        (finding,) = found[name]
        assert finding["level"] == "note", finding
        assert words in finding["text"]
        assert finding["mend"] == "run it as root: sudo failover doctor"
    assert found["uplinks"][0]["level"] == found["our tables and prefs"][0]["level"] == "ok", "these need no right"


@as_root
def test_a_container_that_gives_nobody_the_capabilities(patient: Patient) -> None:
    (finding,) = patient.told("capabilities", before=UNBOUND + ORDINARY)["capabilities"]
    assert finding["level"] == "failure"
    assert "nobody here can have CAP_NET_ADMIN and CAP_NET_RAW" in finding["text"]


@pytest.mark.parametrize(("limit", "level"), [(50, "failure"), (200, "note"), (1024, "ok")])
def test_open_files(patient: Patient, limit: int, level: str) -> None:
    (finding,) = patient.told("open files", before=FEW.format(limit))["open files"]
    assert finding["level"] == level
    assert level == "ok" or ("LimitNOFILE=1024" in finding["mend"] and str(limit) in finding["text"])


def test_open_files_of_the_agent_that_runs(patient: Patient) -> None:
    command = (sys.executable, "-c", FEW.format(200) + AGENT)
    with running(patient.van, patient.home, "--config", str(patient.config), command=command) as agent:
        agent.ready()
        patient.socket = agent.socket
        patient.says("open files", Level.NOTE, "200 open files are allowed")


@pytest.mark.parametrize(("status", "level"), [(0x40, "warning"), (0, "ok")])
def test_a_clock_that_nobody_keeps_right(patient: Patient, status: int, level: str) -> None:
    (finding,) = patient.told("clock", before=CLOCK.format(status))["clock"]
    assert finding["level"] == level
    assert level == "ok" or "chrony" in finding["mend"]


# --- the kernel ------------------------------------------------------------------------------------------------------


def test_this_kernel_has_all_it_takes(patient: Patient) -> None:
    before = patient.box.ip("rule") + patient.box.ip("route show table all")
    patient.says("kernel features", Level.OK)
    assert patient.box.ip("rule") + patient.box.ip("route show table all") == before, "tried elsewhere"


@as_root
@pytest.mark.parametrize("uid", [1000, 54321, 65534])
def test_an_ordinary_user_may_try_it_too(patient: Patient, uid: int) -> None:
    """In a user namespace of its own, of which it is root: one of the rules is about root."""
    lowered = ORDINARY.replace("54321", str(uid)) + DUMPABLE + "from failover.doctor import trial\ntrial.main()\n"
    done = patient.run(code=lowered)
    assert json.loads(done.stdout) == {
        "untried": "",
        "ipv6": True,
        "refused": [],
        "uncounted": [],
        "unforwarded": [],
    }, done


@as_root
def test_a_healthy_van_is_healthy_for_an_ordinary_user(patient: Patient) -> None:
    """What it could not check is a note."""
    done = patient.run("--json", code=ORDINARY + RUN)
    found = json.loads(done.stdout)
    assert (done.returncode, found["counts"]["failure"]) == (0, 0), found
    assert found["counts"]["note"] >= 4


def test_the_trial_lays_every_kind_of_rule() -> None:
    items = [operation.item for operation in trial.layout(FAMILIES)]
    rules = [item for item in items if isinstance(item, Rule)]
    assert {item.table for item in items if isinstance(item, Route)} == {15500, 15501, 15590}
    for kind in ("fwmark", "source", "iif", "suppress_prefix_length", "extra"):
        assert any(getattr(rule, kind) not in (None, ()) for rule in rules), kind
    assert {item.family for item in items if isinstance(item, Route | Rule)} == set(FAMILIES)


def test_what_the_kernel_does_not_take_is_said_in_its_words(patient: Patient) -> None:
    """What is there already cannot be added."""
    with patient.van.entered():
        assert trial.refused(FAMILIES) == []
        (first, *_) = trial.refused(FAMILIES)
    assert first.startswith("ipv4 ")
    assert first.endswith("File exists")


@as_root
def test_a_kernel_without_what_it_takes(patient: Patient) -> None:
    """One without IPv6, and too old for ignore_routes_with_linkdown."""
    without = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /proc/sys/net && exec "$@"', "sh")
    six, finding = patient.told("kernel features", first=without)["kernel features"]
    assert six["level"] == "note"
    assert "this kernel has no IPv6" in six["text"]
    assert finding["level"] == "failure"
    assert "the kernel refuses ignore_routes_with_linkdown: it has no such sysctl" in finding["text"]
    assert "Linux 4.20" in finding["mend"]


@as_root
def test_a_machine_without_nft(patient: Patient) -> None:
    """Detection is weaker, and what else nft would tell is not known."""
    hide = 'mount --bind /dev/null "$(readlink -f "$(command -v nft)")" && exec "$@"'
    found = patient.told("kernel features", "flow offload", first=("unshare", "--mount", "sh", "-c", hide, "sh"))
    (finding,) = found["kernel features"]
    assert finding["level"] == "warning"
    assert finding["text"].endswith("which makes detection weaker: nft is not installed")
    assert finding["mend"] == "install the package nftables"
    assert [one["text"] for one in found["flow offload"]] == ["not looked at: nft is not installed"]


@as_root
def test_root_of_a_container_that_has_no_say_over_its_network(patient: Patient) -> None:
    """Nor may it make another for the trial."""
    limit = 'echo 0 >/proc/sys/user/max_net_namespaces && exec "$@"'
    contained = ("unshare", "--user", "--map-root-user", "sh", "-c", limit, "sh")
    found = patient.told("kernel features", "capabilities", "probes", first=contained)
    (untried,) = found["kernel features"]
    assert untried["level"] == "note"
    assert "could not be tried: no network namespace for the trial: No space left on device" in untried["text"]
    (finding,) = found["capabilities"]
    assert finding["level"] == "failure"
    assert "root may not probe here: it has CAP_NET_RAW, but not over this network" in finding["text"]
    assert found["probes"][0]["text"].startswith("none was sent: it has CAP_NET_RAW")


# --- sysctls ---------------------------------------------------------------------------------------------------------


def strict(patient: Patient) -> None:
    """A rule that takes the replies' reverse path away from ours, and a filter that minds."""
    for name in ("all", "wan0", "wan1"):
        patient.van.sysctl(f"ipv4/conf/{name}/rp_filter", 1)
    patient.box.ip("route add default via 10.20.0.1 table 77")
    patient.box.ip("rule add pref 15400 not fwmark 0xca6c lookup 77")


def test_strict_rp_filter_that_the_agent_will_loosen(patient: Patient) -> None:
    patient.says("sysctls", Level.OK)
    strict(patient)
    found = patient.check("sysctls")
    assert [finding.level for finding in found] == [Level.NOTE] * 2
    assert "net.ipv4.conf.wan0.rp_filter is strict" in found[0].text


@as_root
def test_strict_rp_filter_that_nobody_can_loosen(patient: Patient) -> None:
    strict(patient)
    found = {finding["text"].split(" ")[0]: finding for finding in patient.told("sysctls", first=READ_ONLY)["sysctls"]}
    filtered = found["net.ipv4.conf.wan1.rp_filter"]
    assert filtered["level"] == "failure"
    assert "replies are dropped; /proc/sys is read-only here" in filtered["text"]
    assert "ProtectKernelTunables=no" in filtered["mend"]
    assert found["net.ipv6.conf.wan0.ignore_routes_with_linkdown"]["level"] == "warning"


@as_root
def test_an_agent_that_could_not_set_them(patient: Patient) -> None:
    """Under a unit with ProtectKernelTunables=yes; the doctor itself can write there."""
    strict(patient)
    command = (*READ_ONLY, sys.executable, "-m", "failover")
    with running(patient.van, patient.home, "--config", str(patient.config), command=command) as agent:
        agent.ready()
        patient.socket = agent.socket
        found = patient.check("sysctls")
    levels = {finding.text.split(" ")[0].rpartition(".")[2]: finding.level for finding in found}
    assert levels == {"rp_filter": Level.FAILURE, "ignore_routes_with_linkdown": Level.WARNING}
    assert all(finding.mend.startswith("sysctl -w net.") for finding in found)
