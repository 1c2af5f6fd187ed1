"""Names and files that mean ill, against the whole product: the running agent, and its command line on a terminal.

Interfaces have every kind of name that the kernel takes, paths and arguments every byte. What reaches a screen, a log,
a page or a file is printable and can be parsed; what others have in the kernel stays as it is.
"""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from failover.export import journal
from failover.export.client import call
from failover.export.memory import NAME, Stamp, load
from failover.lab.namespaces import Namespace
from failover.lab.user import User
from failover.lab.world import World
from failover.model import ControlError, clean
from tests.agent.running import FAILOVER, Agent, command, ours, running, scrape
from tests.agent.test_devices import NEEDS_IP
from tests.allowed import or_skip

INTERFACES = (
    b"\x1b[2J\x07",
    b"[red]",
    b'";flush-ruleset',
    "\u202eb".encode(),
    b"a\xff\xfe",
    b"a\x01",
    b"a\x02",
    b"{{.}}",
    b"$(id)`",
    b"-h",
    b"a\\n",
    b"'&<b>=,",
)
"""The kernel refuses blanks, colons, slashes and `%`; the fifth and sixth look alike once they can be shown."""
PATH = "\x1b[2J[red]\nforged\r'\"; flush{{%s\u202e\udcff"
LISTED = """\
uplinks:
  - name: a.b
    interface: "[red]"
    carrier: "[red]{{%s\\";flush'<b>\\\\ \u00e9"
    targets: ["http://x.example/[red]'$(id);flush-ruleset", icmp://192.0.2.1]
  - {name: c, interface: "{{.}}"}
"""
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("status",),
    ("status", PATH),
    ("explain",),
    ("events", "--state", "{state}"),
    ("events", "--since", PATH),
    ("check", "{config}"),
    ("check", PATH),
    ("doctor", "--config", "{config}", "--state", "{state}"),
    ("probe", "--", "{uplink}"),
    ("use", "--", "{uplink}"),
    ("use", PATH),
    ("drain", PATH),
    ("auto",),
    ("reload",),
    ("help", PATH),
    ("simulate", "--trace", PATH),
    (PATH,),
)
AS_JSON = ("status", "explain", "events", "check")
FORGED = re.compile("(failover: )?forged")
SHOWN = re.compile(rb"\x1b\[(0|1|31|32|33)m")
"""What the product writes to a terminal for colours (cli/screen.py)."""
JOURNAL = """
import os, sys
found = os.fstat(2)
os.environ["JOURNAL_STREAM"] = f"{found.st_dev}:{found.st_ino}"
os.execv(sys.executable, [sys.executable, "-m", "failover", *sys.argv[1:]])
"""
"""The failover command with its stderr as systemd-journald connects it."""


@dataclass(frozen=True)
class Siege:
    """An agent among those names."""

    agent: Agent
    config: Path
    state: Path
    uplinks: tuple[str, ...]
    foreign: object
    """What others have in the kernel, as it was before."""
    ruleset: bytes
    """Of others."""

    def words(self, *words: str) -> list[str]:
        places = {"config": self.config, "state": self.state, "uplink": self.uplinks[0]}
        return [word.format(**places) if word.startswith("{") else word for word in words]

    def on_terminal(self, *words: str) -> bytes:
        """What the command writes to a terminal."""
        ours, theirs = pty.openpty()
        said = {"TERM": "xterm", "COLUMNS": "200", "FAILOVER_SOCKET": str(self.agent.socket)}
        streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs, "env": os.environ | said}
        child = self.agent.namespace.popen([*FAILOVER, *self.words(*words)], **streams)
        os.close(theirs)
        written = b"".join(_read(ours))
        child.wait(60)
        return written


def _read(terminal: int) -> Iterator[bytes]:
    """Until everyone at the other end is gone, which a terminal tells by an error."""
    try:
        while True:
            yield os.read(terminal, 65536)
    except OSError:
        os.close(terminal)


def plug_in(namespace: Namespace, name: bytes, number: int) -> None:
    """A cable with that name, and a default route."""
    device, near, far = f"peer{number}", f"10.9.{number}.2/24", f"10.9.{number}.1"
    for line in (
        ("link", "add", "name", name, "type", "veth", "peer", "name", device),
        ("link", "set", "dev", name, "up"),
        ("link", "set", "dev", device, "up"),
        ("address", "add", near, "dev", name),
        ("route", "add", "default", "via", far, "dev", name, "metric", str(number + 1)),
    ):
        words = [os.fsdecode(word) for word in line]
        assert namespace.popen(["ip", *words]).wait(10) == 0, words


def nft(namespace: Namespace, *words: str) -> bytes:
    done = namespace.popen(["nft", *words], stdout=subprocess.PIPE)
    out: bytes = done.communicate(timeout=10)[0]
    assert done.returncode == 0
    return out


@pytest.fixture(scope="module", params=["discovered", "listed"])
def siege(request: pytest.FixtureRequest) -> Iterator[Siege]:
    """Every uplink discovered, logging to a terminal; or two of a config, logging to journald."""
    with ExitStack() as stack:
        stack.enter_context(or_skip())
        namespace = stack.enter_context(Namespace("besieged"))
        for number, name in enumerate(INTERFACES):
            plug_in(namespace, name, number)
        nft(namespace, "add table inet theirs")
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="f")))  # a socket's path has 107 bytes
        place, listed = home / PATH, request.param == "listed"
        place.mkdir()
        config = place / f"{PATH}.yaml"
        config.write_text(LISTED if listed else "policy: {failback_after: 60s}\n")
        before, ruleset = ours(namespace)[1], nft(namespace, "list", "ruleset")
        more = {"command": (FAILOVER[0], "-c", JOURNAL)} if listed else {}
        agent = stack.enter_context(running(namespace, place, "--config", str(config), **more))
        agent.said("ready: ")
        names = tuple(str(one["name"]) for one in agent.status()["uplinks"])
        yield Siege(agent, config, place, names, before, ruleset)
        where = ("--socket", str(agent.socket), "--state", str(place))
        assert agent.stop()[0] == 0
        assert command(namespace, "cleanup", *where)[0] == 0
        assert ours(namespace) == (frozenset(), before)


def assert_harmless(written: bytes) -> None:
    """Nothing but printable text in whole lines, none of which a name has begun."""
    text = SHOWN.sub(b"", written).replace(b"\r\n", b"\n").decode()
    bad = [line for line in text.split("\n") if not line.isprintable() or FORGED.match(line)]
    assert bad == []


@NEEDS_IP
def test_the_uplinks_are_those_names(siege: Siege) -> None:
    listed = "a.b" in siege.uplinks
    names = {clean(name.decode(errors="replace")) for name in INTERFACES}
    assert set(siege.uplinks) == ({"a.b", "c"} if listed else names)
    assert {one["interface"] for one in siege.agent.status()["uplinks"]} <= names


@NEEDS_IP
@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: f"{words[0][:9]!a}-{len(words[-1])}")
def test_a_terminal_is_shown_nothing_but_text(siege: Siege, words: tuple[str, ...]) -> None:
    written = siege.on_terminal(*words)
    assert written.strip()
    assert b"Traceback" not in written
    assert_harmless(written)


@NEEDS_IP
@pytest.mark.parametrize("word", AS_JSON)
def test_json_is_json_and_can_be_looked_at(siege: Siege, word: str) -> None:
    words = next(words for words in COMMANDS if words[0] == word and PATH not in words)
    written = siege.on_terminal(word, "--json", *words[1:])
    assert_harmless(written)
    assert json.loads(written)


@NEEDS_IP
def test_each_line_of_the_log_is_one_line_of_text(siege: Siege) -> None:
    call(siege.agent.socket, "reload", {})
    siege.agent.said(" is in force: nothing has changed")
    start = r"<[3-6]>" if "a.b" in siege.uplinks else "failover: "
    for line in siege.agent.lines:
        assert re.match(rf"{start}[a-z]+: ", line), line
        assert line.isprintable()


@NEEDS_IP
def test_the_page_of_metrics_has_the_names_as_labels(siege: Siege) -> None:
    page = scrape(siege.agent.namespace).partition("\r\n\r\n")[2]
    families = {family.name: family for family in text_string_to_metric_families(page)}
    labels = [sample.labels for sample in families["failover_uplink_info"].samples]
    views = siege.agent.status()["uplinks"]
    keys = {"uplink": "name", "interface": "interface", "carrier": "carrier"}
    assert labels == [{label: one[key] for label, key in keys.items()} for one in views]


def remembered(siege: Siege) -> str | None:
    """The uplink that is remembered to be used, once it is the last one."""
    memory = load(siege.state / NAME, Stamp(0.0, False, "", 0.0))[0]
    return memory.use if memory is not None and memory.use == siege.uplinks[-1] else None


@NEEDS_IP
def test_journal_and_memory_are_whole_and_printable(siege: Siege) -> None:
    call(siege.agent.socket, "use", {"name": siege.uplinks[-1]})
    assert siege.agent.until(lambda _: remembered(siege)) == siege.uplinks[-1]
    assert [entry for entry in journal.read(siege.state) if entry.kind == "uplink"]
    for name in (journal.CURRENT, NAME):
        for line in (siege.state / name).read_bytes().splitlines():
            assert line.decode("ascii").isprintable()
            assert json.loads(line)


@NEEDS_IP
def test_what_others_have_in_the_kernel_is_as_it_was(siege: Siege) -> None:
    mine, foreign = ours(siege.agent.namespace)
    assert len(mine) > len(siege.uplinks)
    assert foreign == siege.foreign
    tables = nft(siege.agent.namespace, "list", "tables").splitlines()
    assert sorted(tables) == [b"table inet failover", b"table inet theirs"]
    assert nft(siege.agent.namespace, "list", "table", "inet", "theirs") == siege.ruleset


# --- a config that turns bad -----------------------------------------------------------------------------------------

GOOD = "uplinks: [{name: au, interface: wwan0}, {name: docomo, interface: wwan1}, {name: depot, interface: wlan0}]\n"


def written(content: str | bytes) -> Callable[[Path], None]:
    data = content if isinstance(content, bytes) else content.encode()

    def write(place: Path) -> None:
        place.write_bytes(data)

    return write


def link_to(target: str) -> Callable[[Path], None]:
    return lambda place: place.symlink_to(target)


def nothing(_: Path) -> None:
    """As a package that is removed leaves it."""


REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "not YAML": (written("uplinks: [{"), ":1: not YAML: "),
    "bytes": (written(bytes(range(128, 256)) * 8), "is not UTF-8; "),
    "10 MB": (written(b"#" * (10 << 20)), ": too large; at most 1048576 bytes are read"),
    "aliases": (written("a: &a [x,x]\n" + "".join(f"b{n}: [*a,*a]\n" for n in range(9000))), "too many values; "),
    "deep": (written("[" * 100_000), "nested too deeply; "),
    "a tag": (written("uplinks: !!python/object/apply:os.abort []\n"), "a tag has no meaning here; remove it"),
    "a mask": (written(GOOD + "kernel: {fwmark_mask: 0x1}\n"), ":2: kernel.fwmark_mask: "),
    "a pipe": (os.mkfifo, "is no regular file; "),
    "a folder": (Path.mkdir, "is no regular file; "),
    "a device": (link_to("/dev/zero"), "is no regular file; "),
    "a loop": (lambda place: place.symlink_to(place), "Too many levels of symbolic links; "),
    "a dead link": (link_to("/nonexistent/failover.yaml"), "No such file or directory; "),
    "gone": (nothing, "No such file or directory; "),
}
TAKEN = {
    "metrics where somebody is": (
        "metrics: {listen: 127.0.0.1:1}\n",
        "but no metrics at 127.0.0.1:1: Address already in ",
    ),
    "another mask": ("kernel: {fwmark_mask: 0x0ff00000}\n", "kernel.fwmark_mask: 0x0ff00000, was 0x3f000000"),
    "other targets": ("probes: {targets: [icmp://1.1.1.1, icmp://8.8.8.8]}\n", "targets"),
}


def reloaded(agent: Agent) -> str:
    try:
        return str(call(agent.socket, "reload", {})["text"])
    except ControlError as error:
        return f"{error} ({error.hint})"


def clear(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        place.rmdir()
    else:
        place.unlink(missing_ok=True)


def test_no_config_that_is_reloaded_touches_a_flow(world: World, van: Namespace, tmp_path: Path) -> None:
    config = tmp_path / "failover.yaml"
    config.write_text(GOOD)
    with van.socket(2, 1) as somebody, running(van, tmp_path, "--config", str(config)) as agent, User(van) as user:
        somebody.bind(("127.0.0.1", 1))
        somebody.listen()
        agent.ready().all_up()
        assert user.wait()
        began, made = time.monotonic(), ours(van)
        for name, (make, words) in REFUSED.items():
            clear(config)
            make(config)
            answer = reloaded(agent)
            assert answer.startswith(str(config)), name
            assert words in answer, (name, answer)
            assert answer.endswith("(the config before stays in force)"), name
            status = agent.status()["config"]
            assert not status["ok"], name
            assert words in status["problems"][0]
            assert ours(van) == made, name
        clear(config)
        for more, words in TAKEN.values():
            config.write_text(GOOD + more)
            answer = reloaded(agent)
            assert answer.startswith(f"{config} is in force: "), answer
            assert words in answer
            assert agent.status()["config"] == {"path": str(config), "ok": True, "problems": []}
            agent.all_up()
        ended = time.monotonic()
        assert user.wait(ended)
        for flow in user.seen(began, ended).values():
            assert flow.sent > 0
            assert (flow.answered, flow.reconnects) == (flow.sent, 0), flow
        assert agent.stop()[0] == 0
