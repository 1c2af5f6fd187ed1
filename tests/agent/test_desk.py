"""Every command of the table has somebody who answers it: the engine, the desk, or the stream."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from failover.desk import Desk
from failover.export.client import call
from failover.export.commands import COMMANDS
from failover.export.sentence import sentence
from failover.kernel import nft
from failover.lab.namespaces import Namespace
from failover.model import ControlError
from tests.agent.running import running, scrape


def test_nobody_is_left_without_an_answer(tmp_path: Path) -> None:
    sources: Any = None
    nobody: Any = None
    desk = Desk(tmp_path / "control.sock", sources, nobody, nobody, lambda kind, text: None)
    shell = {spec.name for spec in COMMANDS.values() if spec.build is None and not spec.streams}
    assert set(desk.answers) == shell


def answered(socket: Path, command: str, arguments: Mapping[str, object]) -> Mapping[str, object]:
    try:
        return call(socket, command, arguments)
    except ControlError as error:
        return {"refused": str(error)}


def test_a_real_agent_tells_no_older_events_than_are_asked_for(tmp_path: Path) -> None:
    with Namespace("parked") as parked, running(parked, tmp_path) as agent:
        agent.ready()
        kinds = [
            [event["kind"] for event in call(agent.socket, "events", {"since": since})["events"]]
            for since in (3600.0, 0.001)
        ]
    assert "started" in kinds[0]
    assert "started" not in kinds[1]


def test_a_real_agent_answers_each(tmp_path: Path) -> None:
    with Namespace("parked") as parked, running(parked, tmp_path) as agent:
        agent.ready()
        for spec in COMMANDS.values():
            names = {argument.name: "au" for argument in spec.arguments if not argument.option}
            reply = answered(agent.socket, spec.name, names)
            if names:
                what = "esim: argument 'iccid': it is no ICCID" if spec.name == "esim" else "no uplink is named au"
                assert reply == {"refused": what}
            else:
                assert spec.streams or spec.reply in reply


def test_where_flows_cannot_be_counted_every_answer_says_so(tmp_path: Path) -> None:
    """The table's name is taken by somebody else."""
    with Namespace("parked") as parked:
        assert parked.popen(["nft", "add", "table", nft.TABLE.family, nft.TABLE.name]).wait(10) == 0
        with running(parked, tmp_path) as agent:
            agent.ready().said("warning: detection is weaker")
            status = agent.status()
            page = scrape(parked)
    assert status["flows_counted"] is False
    assert [text for text in status["warnings"] if "is somebody else's" in text]
    assert sentence(status).endswith("; detection is weaker: flows are not counted")
    assert "\nfailover_flows_counted 0.0\n" in page


def test_a_new_profile_is_noted_without_its_numbers(tmp_path: Path) -> None:
    with Namespace("parked") as parked, running(parked, tmp_path) as agent:
        agent.ready()
        given = {"modem": "356938035640011", "iccid": "8981100000000000026"}
        text = "the eSIM of modem …0011 uses profile …0026 now"
        assert call(agent.socket, "esim", given)["text"] == f"noted: {text}"
        agent.said(f"operator: {text}")
