"""What each `--json` prints is what its schema says: real output of real runs, and broken copies of it."""

from __future__ import annotations

import copy
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from failover.config.modems import Matter
from failover.doctor.finding import Level
from failover.export import messages
from failover.lab.namespaces import Namespace
from failover.lab.world import World
from failover.model import NoticeKind, Outcome, Reason, Verdict
from tests.agent.running import FAILOVER, command, running
from tests.allowed import or_skip
from tests.modems.carriers import AU, DOCOMO, sim_of
from tests.modems.lpac import Lpac
from tests.modems.rig import Rig, imei, rigged

FOLDER = Path(__file__).resolve().parents[2] / "failover" / "export" / "schemas"
TRIES = 5
FREE = {
    "numbers",
    "fields",
    "probes",
    "probe_bytes",
    "switches",
    "overridden",
    "decisions",
    "families",
    "flows",
    "lan",
    "carriers",
    "down_count",
}
"""Objects whose keys are not the schema's, or not all of them there always."""
CONFIG = """\
uplinks:
  - {name: au, interface: wwan0, carrier: KDDI, metered: true}
  - {name: docomo, interface: wwan1}
  - {name: depot, interface: none0}
detection: {doubt: 500ms}
gateway: {lan: br-lan}
"""

MESSAGE = messages.Kept(
    "a1", 1.0, True, "au", "356938035640011", "8981200000000000022", "157", "2026-10-01", (Matter.CAP,), "20 GB"
)

Documents = dict[str, list[Any]]


def validator(name: str) -> Draft202012Validator:
    schema = json.loads((FOLDER / f"{name}.json").read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Documents:
    """By the name of the schema: what the commands print, with an agent in a lab and without one."""
    home = tmp_path_factory.mktemp("home")
    with or_skip(), World(seed=5) as world:
        found = _in_the_lab(world, home) | _alone(home)
    for name, more in _of_a_modem(home).items():
        found[name] = [*found.get(name, []), *more]
    return found


def _in_the_lab(world: World, home: Path) -> Documents:
    found: Documents = {}
    where = ("--socket", str(home / "control.sock"), "--state", str(home))

    def take(name: str, *words: str, status: tuple[int, ...] = (0,)) -> None:
        exit_status, out, err = command(world.van, *words, "--json")
        assert exit_status in status, err
        found.setdefault(name, []).append(json.loads(out))

    config = home / "failover.yaml"
    config.write_text(CONFIG)
    messages.append(home, [MESSAGE])
    take("check", "check", str(config))
    take("check", "check", str(_with_modem(home)))
    take("check", "check", "--config", str(_wrong(home)), status=(2,))
    with running(world.van, home, "--config", str(config)) as agent:
        agent.ready().until(_answers)
        assert command(world.van, "use", "docomo", "--for", "2h", *where[:2])[0] == 0
        agent.said(" au -> docomo")
        for name in ("status", "explain"):
            take(name, name, *where[:2])
        take("explain", "explain", "--to", "203.0.113.10:443", "--uid", "1000", *where[:2])
        take("explain", "explain", "--to", "2001:db8:ffff::10", "--from", "fd50::7", *where[:2])
        take("status", "status", "docomo", *where[:2])
        take("probe", "probe", "docomo", *where[:2])
        take("events", "events", *where)
        take("sms", "sms", *where)
        take("doctor", "doctor", "--config", str(config), *where, status=(0, 1))
        exit_status, out, err = command(world.van, "cleanup", *where)
        assert (exit_status, out, err.count("\n")) == (1, "", 1)
        assert "stop it first" in err
        assert "--force cleans up all the same" in err
        exit_status, _, err = command(world.van, "cleanup", "--force", *where)
        assert exit_status == 0
        assert f"another agent runs (pid {agent.process.pid})" in err
        assert "a running agent makes everything anew" in err
        assert agent.stop()[0] == 0
    take("events", "events", *where)
    take("cleanup", "cleanup", *where)
    take("cleanup", "cleanup", *where)
    return found


def _answers(status: dict[str, Any]) -> bool:
    return all(one["families"]["ipv4"]["verdict"] == "up" for one in status["uplinks"][:2])


def _with_modem(home: Path) -> Path:
    path = home / "modem.yaml"
    path.write_text(
        "uplinks: [{name: au, modem: {serial: ABCDEF, pin: 0123}}]\n"
        "sms: {patterns: {cap: used up, payment: bill, suspension: stop, roaming: abroad}}\ncarriers: {povo: au}\n"
    )
    return path


def _wrong(home: Path) -> Path:
    path = home / "wrong.yaml"
    path.write_text("uplink: 1\nprobes: []\n")
    return path


def _alone(home: Path) -> Documents:
    def out(*words: str) -> Any:
        for _ in range(TRIES):  # no link that delays wrongly is played on, and the machine may be busy
            done = subprocess.run([*FAILOVER, *words, "--json"], capture_output=True, text=True, check=False)
            if done.returncode == 0:
                break
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    trace = home / "trace.csv"
    rows = [f"{second / 10:.1f},{'' if 300 < second < 330 else 30},40" for second in range(600)]
    trace.write_text("\n".join(["t_s,rtt_ms_au,rtt_ms_docomo", *rows]) + "\n")
    return {
        "simulate": [out("simulate", "--trace", str(trace)), out("simulate", "--scenario", "dead_zone")],
        "demo": [out("demo", "--list"), out("demo", "--only", "cold-boot")],
    }


def _of_a_modem(home: Path) -> Documents:
    """It is locked, and so has something amiss."""
    with Namespace("van") as van, rigged(van, start=False) as rig:
        modem = rig.mbim(1, [sim_of(AU, 1, pin="1234"), sim_of(DOCOMO, 2, esim=True)])
        rig.start()
        rig.manager.listed(modem.imei)
        status, out, err = command(rig.inside, "modems", "--json")
        assert status == 0, err
        told = _with_an_agent(rig, home)
        lpac = Lpac(home)
        lpac.hold("8981100000000000018", "8981100000000000026")
        listing = rig.inside.popen([*FAILOVER, "esim", "list", "--json"], stdout=subprocess.PIPE, env=lpac.environment)
        return {**told, "modems": [json.loads(out)], "esim": [json.loads(listing.communicate(timeout=60)[0])]}


def _with_an_agent(rig: Rig, home: Path) -> Documents:
    (path := home / "one.yaml").write_text(f"dns: none\nuplinks: [{{name: au, modem: {{imei: '{imei(1)}'}}}}]\n")
    with running(rig.inside, home / "one", "--config", str(path)) as agent:
        agent.ready().until(lambda status: status["uplinks"] and status["uplinks"][0]["modem"]["lock"] == "sim-pin")
        where = ("--socket", str(agent.socket), "--json")
        return {name: [json.loads(command(rig.inside, name, *where)[1])] for name in ("status", "explain")}


def names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def test_there_is_a_schema_of_each_command_that_prints_json() -> None:
    from failover.cli.grammar import WORDS

    assert names() == sorted(word.name for word in WORDS if "--json" in word.shared)


@pytest.mark.parametrize("name", names())
def test_real_output_is_what_the_schema_says(documents: Documents, name: str) -> None:
    assert documents[name]
    for document in documents[name]:
        assert [error.message for error in validator(name).iter_errors(document)] == []


@pytest.mark.parametrize("name", names())
def test_a_broken_document_is_refused(documents: Documents, name: str) -> None:
    judge = validator(name)
    broken = [one for document in documents[name] for one in breakages(document)]
    assert len(broken) > 5
    for what, document in broken:
        assert not judge.is_valid(document), what


def test_words_of_which_there_is_a_list_are_all_there() -> None:
    """And no others."""
    lists = {name: text for name in names() for text in [(FOLDER / f"{name}.json").read_text()]}
    for words, *homes in (
        (Verdict, "status", "explain"),
        (Reason, "status", "explain", "simulate"),
        (Outcome, "status"),
        (NoticeKind, "events"),
        (Matter, "sms"),
        (Level, "doctor"),
    ):
        wanted = {str(word.value) for word in words}
        for home in homes:
            assert wanted in list(enumerations(json.loads(lists[home])))


def enumerations(schema: Any) -> Iterator[set[str]]:
    """Every list of words in it, without null."""
    for path, value in walk_all(schema, ()):
        if path and path[-1] == "enum":
            yield {word for word in value if word is not None}


Path_ = tuple[str | int, ...]


def breakages(document: Any) -> Iterator[tuple[str, Any]]:
    """Copies with one fault each: a key too few, a key too many, a value of a kind that is nowhere allowed."""
    for path, value in walk(document, ()):
        if path:
            yield f"odd {path}", changed(document, path, lambda place, key: place.__setitem__(key, [[None]]))
        if isinstance(value, dict) and not (path and path[-1] in FREE):
            yield f"more in {path}", changed(document, (*path, "odd"), lambda place, key: place.__setitem__(key, 1))
            for key in value:
                yield f"less in {path}: {key}", changed(document, (*path, key), lambda place, key: place.pop(key))


def walk_all(value: Any, path: Path_) -> Iterator[tuple[Path_, Any]]:
    """Every value in it."""
    yield path, value
    places = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in places:
        yield from walk_all(one, (*path, key))


def walk(value: Any, path: Path_) -> Iterator[tuple[Path_, Any]]:
    """Every value in it; of a list the first item."""
    yield path, value
    if isinstance(value, dict):
        for key, one in value.items():
            yield from walk(one, (*path, key))
    elif isinstance(value, list) and value:
        yield from walk(value[0], (*path, 0))


def changed(document: Any, path: Path_, change: Any) -> Any:
    """A copy, changed at that place."""
    other = copy.deepcopy(document)
    place = other
    for step in path[:-1]:
        place = place[step]
    change(place, path[-1])
    return other
