"""What the checks look at, read once: the config, the agent's answer, the kernel's facts. Nothing is judged here."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from failover.bus import DEFAULT_ADDRESS, BusError
from failover.config import CONFIG_PATH, Config, ConfigError, Problem
from failover.config.source import ConfigFile
from failover.core.plan import Desired, plan
from failover.core.ties import Sight, choices, looked, roams, tie
from failover.core.uplinks import Bar, Tie, Uplink, resolve
from failover.export.client import DEFAULT_SOCKET, UNITS, call
from failover.facts import Facts
from failover.kernel.kernel import Kernel
from failover.kernel.survey import tables_with_default
from failover.model import FAMILIES, ControlError, Family, Verdict, clean
from failover.seam import ModemsTold

PATIENCE: Final = 2.0
"""Seconds that the agent has to answer."""
PATH_LIMIT: Final = 200
BOOTED: Final = Path("/run/systemd/system")
"""There when systemd runs this machine (sd_booted(3))."""


@dataclass(frozen=True, slots=True)
class Case:
    """What the operator named, and what is to be had of it."""

    socket: Path
    state: Path
    config: Config
    """The defaults where the file cannot be used."""
    config_text: str
    """What came of reading it."""
    problems: tuple[Problem, ...]
    """Why the file cannot be used."""
    doubts: tuple[Problem, ...]
    """What is doubtful in it."""
    hidden: bool
    """Whether this user may not read it."""
    status: Mapping[str, Any] | None
    """What the agent answers."""
    silence: ControlError | None
    """Why it does not."""
    path: Path = Path(CONFIG_PATH)
    """Of the config file."""
    modems: ModemsTold = field(default_factory=lambda: ModemsTold(managed=False))
    """What ModemManager tells, where the config names modems."""
    modems_fault: BusError | None = None
    """Why it cannot be asked."""

    @staticmethod
    def of(config_path: Path | None, socket: Path, state: Path) -> Case:
        """Read the file and ask the agent; neither is an error here."""
        status, silence = _asked(socket)
        source = ConfigFile(config_path or read_by(status))
        problems: tuple[Problem, ...] = ()
        hidden = False
        try:
            hidden = source.path.exists() and not os.access(source.path, os.R_OK)
            config, doubts = source.load()
            text = source.outcome
        except ConfigError as error:
            config, doubts, problems, text = Config(), (), error.problems, ""
        except PermissionError:  # its directory may not be entered
            config, doubts, text, hidden = Config(), (), "", True
        modems, fault = modems_of(config)
        asked = status, silence, source.path, modems, fault
        return Case(socket, state, config, text, problems, doubts, hidden, *asked)

    @property
    def of_service(self) -> bool:
        """Whether it is the control socket of the agent that systemd starts."""
        return self.socket == Path(DEFAULT_SOCKET)

    @property
    def systemd_starts(self) -> bool:
        """Whether the agent is one that systemd would start."""
        return self.of_service and not self.runs and BOOTED.exists() and any(map(os.path.exists, UNITS))

    @property
    def read(self) -> Path | None:
        """The file that the agent reads; None: it does not say, or none runs."""
        return read_by(self.status)

    @property
    def refused(self) -> Sequence[str] | None:
        """Why the agent that runs did not take the file as it last read it; None when it did."""
        told = self.status.get("config") if self.status else None
        if not isinstance(told, dict) or told.get("ok") is not False:
            return None
        problems = told.get("problems")
        return tuple(map(str, problems)) if isinstance(problems, list) else ()

    @property
    def agent(self) -> Mapping[str, Any]:
        """What the agent says of itself; empty while there is none."""
        return self.status["agent"] if self.status else {}

    @property
    def pid(self) -> int | None:
        """Of the agent that answers, where it is a process of ours to see."""
        told = self.agent.get("pid")
        return told if isinstance(told, int) and os.path.exists(f"/proc/{told}") else None

    @property
    def runs(self) -> bool:
        """Whether an agent answers."""
        return self.status is not None


def modems_of(config: Config, address: str = DEFAULT_ADDRESS) -> tuple[ModemsTold, BusError | None]:
    """What ModemManager tells, and why it cannot be asked; without modems in the config nobody is."""
    if not choices(config.uplinks):
        return ModemsTold(managed=False), None
    from failover.modems.once import read_once  # loads the D-Bus library

    try:
        return asyncio.run(read_once(address)), None
    except BusError as error:
        return ModemsTold(managed=False), error


def _ties(case: Case) -> dict[str, Tie]:
    """What their modems are to the uplinks; where their manager tells nothing, as the agent that runs has it."""
    told = case.modems
    known = {} if told.managed else _agents_ties(case.status or {})
    seen = ((uplink, choice, looked(Sight(), told, choice)) for uplink, choice in choices(case.config.uplinks))
    return {
        uplink.name: known.get(uplink.name)
        or tie(uplink, choice, sight, warming=False, dials=False, abroad=roams(sight))
        for uplink, choice, sight in seen
    }


def _agents_ties(status: Mapping[str, Any]) -> dict[str, Tie]:
    """By the uplinks' names: their interfaces, and which of them wait for another SIM."""
    ties = {}
    for one in status.get("uplinks", ()):
        cold = [told["text"] for told in one.get("families", {}).values() if told["verdict"] == Verdict.COLD]
        if cold or one.get("interface"):
            ties[one["name"]] = Tie(bar=Bar.COLD, fault=cold[0]) if cold else Tie(one["interface"])
    return ties


def read_by(status: Mapping[str, Any] | None) -> Path | None:
    """The file that the agent reads, as it says."""
    told = status.get("config") if status else None
    path = told.get("path") if isinstance(told, dict) else None
    return Path(path) if isinstance(path, str) and path else None


def _asked(socket: Path) -> tuple[Mapping[str, Any] | None, ControlError | None]:
    try:
        status = call(socket, "status", {}, PATIENCE).get("status")
    except ControlError as error:
        return None, error
    if isinstance(status, dict) and isinstance(status.get("agent"), dict):
        return status, None
    what = f"the answer from {clean(str(socket), PATH_LIMIT)} is no agent's"
    return None, ControlError(what, "is it the control socket of failover?")


@dataclass(frozen=True, slots=True)
class Ground:
    """What the kernel holds, and what the agent makes of it."""

    case: Case
    facts: Facts
    uplinks: tuple[Uplink, ...]
    desired: Desired
    """What the agent wants there; whichever uplink is active, these rules and sysctls."""
    tables: frozenset[tuple[Family, int]]
    """Those that have a default route."""

    @staticmethod
    def of(case: Case) -> Ground:
        """Read the kernel. Raises KernelError."""
        config, lan, ties = case.config, case.config.lan, _ties(case)
        with closing(Kernel()) as kernel:
            facts = kernel.read()
            if lan:
                kernel.gateways = (*lan, *(uplink.interface for uplink in resolve(facts, config, {}, ties=ties)))
                facts = kernel.read()
        uplinks = resolve(facts, config, {}, ties=ties)
        desired = plan(uplinks, {}, facts, config.fwmark_mask, lan=lan)
        return Ground(case, facts, uplinks, desired, tables_with_default())

    @property
    def served(self) -> tuple[Family, ...]:
        """The families in which an uplink has a default route."""
        return tuple(family for family in FAMILIES if any(uplink.paths[family].route for uplink in self.uplinks))
