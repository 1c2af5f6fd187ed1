"""Every command of the table over a real socket: the command it becomes, and the shape of its reply."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from failover.export.commands import COMMANDS, COUNT_LIMIT, SECONDS_LIMIT, Spec, parse
from failover.export.control import Control
from failover.export.entries import Numbering
from failover.export.status import document
from failover.model import Auto, Command, ControlError, Drain, Notice, NoticeKind, ProbeNow, Undrain, Use
from tests.export.pictures import NOW, snapshot
from tests.export.served import heard, silent

ENTRY: Final = Numbering("a").entry(Notice(NoticeKind.SWITCH, "to docomo", {"from": "au"}), 1.0, trusted=True)


@dataclass
class Agent:
    """Answers as the agent's shell does; keeps what it was to do."""

    done: list[Command] = field(default_factory=list)
    given: list[Mapping[str, object]] = field(default_factory=list)

    async def answer(self, spec: Spec, arguments: Mapping[str, object]) -> Mapping[str, object]:
        if spec.build is not None:
            self.done.append(spec.build(**arguments))
            return {"text": "so be it"}
        self.given.append(arguments)
        match spec.name:
            case "status":
                return {"status": document(snapshot(), NOW)}
            case "explain":
                return {"explain": {"ipv4": {"rule": "doubt"}}}
            case "events":
                return {"events": [ENTRY.document()]}
            case "sms":
                return {"sms": []}
        return {"text": f"did {spec.name}"}


Example = tuple[dict[str, object], Command | Mapping[str, object]]
"""Arguments, and what they become: the engine's command, or what the shell is given."""

EXAMPLES: Final[Mapping[str, tuple[Example, ...]]] = {
    "status": (({}, {}),),
    "explain": (
        ({}, {}),
        ({"to": "198.51.100.1:443", "uid": 1000}, {"to": "198.51.100.1:443", "uid": 1000}),
        ({"to": "::1", "protocol": "udp", "from": "fd00::7"}, {"to": "::1", "protocol": "udp", "from": "fd00::7"}),
    ),
    "esim": (({"modem": "356938035640011", "iccid": "1"}, {"modem": "356938035640011", "iccid": "1"}),),
    "sms": (({}, {"limit": 50}), ({"limit": 1}, {"limit": 1})),
    "events": (
        ({}, {"limit": 50}),
        ({"limit": 1, "since": 3600}, {"limit": 1, "since": 3600.0}),
        ({"limit": 1000, "since": 0.5}, {"limit": 1000, "since": 0.5}),
    ),
    "watch": (({}, {}),),
    "use": (
        ({"name": "au"}, Use("au")),
        ({"name": "au", "seconds": 60, "strict": True}, Use("au", seconds=60.0, strict=True)),
    ),
    "auto": (({}, Auto()),),
    "drain": (({"name": "au"}, Drain("au")), ({"name": "au", "force": True}, Drain("au", force=True))),
    "undrain": (({"name": "au"}, Undrain("au")),),
    "probe": (({"name": "au"}, ProbeNow("au")),),
    "reload": (({}, {}),),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_answered_as_the_table_says(tmp_path: Path, name: str) -> None:
    for arguments, meant in EXAMPLES[name]:
        agent = Agent()
        replies = asyncio.run(ask(tmp_path / "control.sock", agent, name, arguments))
        assert [*agent.done, *agent.given] == [meant]
        spec = COMMANDS[name]
        if spec.streams:
            assert replies == [{"ok": True}, {"status": document(snapshot(), NOW)}, {"event": ENTRY.document()}]
        else:
            assert replies[0].keys() == {"ok", spec.reply}


async def ask(path: Path, agent: Agent, name: str, arguments: Mapping[str, object]) -> list[dict[str, Any]]:
    """The reply, and of a stream the two lines after it."""
    server = Control(path, agent.answer, silent)
    await server.start()
    reader, writer = await asyncio.open_unix_connection(str(path), limit=1 << 20)
    writer.write(json.dumps({"command": name, **arguments}).encode() + b"\n")
    replies = [await heard(reader)]
    if COMMANDS[name].streams:
        replies.append(await heard(reader))
        server.publish(ENTRY.document())
        replies.append(await heard(reader))
    writer.close()
    await server.stop()
    return replies


def test_every_example_is_of_a_command() -> None:
    assert EXAMPLES.keys() == COMMANDS.keys()


COUNT = f"events: argument 'limit' must be a whole number from 1 to {COUNT_LIMIT}"
SPAN = "events: argument 'since' must be a number of seconds above 0"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"limit": 0}, COUNT),
        ({"limit": -1}, COUNT),
        ({"limit": COUNT_LIMIT + 1}, COUNT),
        ({"limit": 10**400}, COUNT),
        ({"limit": 5.0}, COUNT),
        ({"limit": True}, COUNT),
        ({"limit": "5"}, COUNT),
        ({"limit": None}, COUNT),
        ({"since": 0}, SPAN),
        ({"since": float("nan")}, SPAN),
        ({"since": float("inf")}, SPAN),
        ({"since": SECONDS_LIMIT * 1.01}, SPAN),
        ({"since": 10**400}, SPAN),
        ({"since": True}, SPAN),
    ],
)
def test_an_argument_out_of_its_kind_is_refused(arguments: Mapping[str, object], error: str) -> None:
    with pytest.raises(ControlError) as caught:
        parse({"command": "events", **arguments})
    assert str(caught.value) == error
