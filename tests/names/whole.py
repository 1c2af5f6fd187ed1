"""A whole agent in a box, as user `failover`, and carriers that can fall silent."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from failover.export.instance import CAPABILITIES
from tests.agent.running import FAILOVER, Agent
from tests.agent.test_rights import become
from tests.names.box import USERS, Box
from tests.names.carriers import SHARED, Carriers

HOME = "run/failover"
STUB = "nameserver 127.0.0.53\n"
OWN_FILE = f"/{HOME}/resolv.conf"
CONFIG = """\
uplinks:
  - {name: one, interface: up1, dns: ONE}
  - {name: two, interface: up2, dns: TWO}
probes: {targets: [icmp://SHARED, dns://SHARED/example.com]}
detection: {return_after: 1s}
policy: {failback_after: 1s}
metrics: {listen: none}
dns: DNS
"""


def config(dns: str = "auto", one: str = "", two: str = "") -> str:
    """`one`, `two`: the servers of these uplinks; none: as their networks tell."""
    text = CONFIG.replace("SHARED", SHARED).replace("DNS", dns)
    for key, value in (("ONE", one), ("TWO", two)):
        text = text.replace(f", dns: {key}", f", dns: [{value}]" if value else "")
    return text


class Inside:
    """The box, as an agent's namespace."""

    def __init__(self, box: Box) -> None:
        self._box = box

    def popen(self, argv: list[str], **options: Any) -> subprocess.Popen[Any]:
        return self._box.popen(*argv, **options)


@contextmanager
def agent(box: Box, text: str, user: str = "failover") -> Iterator[Agent]:
    """What it did is undone afterwards, by `failover cleanup`."""
    (box.root / "etc/failover.yaml").write_text(text)
    command = become(USERS[user], *CAPABILITIES)
    inside: Any = Inside(box)
    made = Agent(inside, Path("/", HOME), "--config", "/etc/failover.yaml", command=command)
    made.socket = box.root / HOME / made.socket.name
    try:
        yield made.ready()
    finally:
        if made.process.poll() is None:
            box.end(made.process)
        assert made.process.stderr is not None
        made.process.stderr.close()
        cleaned = clean_up(box)
    assert cleaned.returncode == 0, (cleaned.stdout, box.log())


def clean_up(box: Box) -> subprocess.CompletedProcess[str]:
    return box.run(*FAILOVER, "cleanup", "--socket", f"/{HOME}/control.sock", "--state", f"/{HOME}")


def blackout(carriers: Carriers, number: int, *, over: bool = False) -> None:
    """Packets vanish there, and the link stays up."""
    carriers[number].silent = not over
    carriers[number].beyond.sysctl("ipv4/icmp_echo_ignore_all", int(not over))
