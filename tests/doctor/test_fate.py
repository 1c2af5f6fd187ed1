"""What would bring several uplinks down together: by the config and the kernel alone, and as the agent tells it."""

from __future__ import annotations

import json

from failover.doctor.finding import Level
from tests.doctor.patient import Patient, speaking

CHECK = "shared fate"


def of(au: str, other: str, *more: str) -> str:
    named = f"  - {{name: au, interface: wan0, carrier: {au}}}\n  - {{name: other, interface: wan1, carrier: {other}}}"
    return "\n".join((f"uplinks:\n{named}", *more))


def test_two_networks(patient: Patient) -> None:
    patient.configure(of("au", "docomo"))
    patient.says(CHECK, Level.OK, "nothing is known")


def test_two_brands_of_one(patient: Patient) -> None:
    patient.configure(of("au", "povo"))
    found = patient.says(CHECK, Level.WARNING, "au and other share the network au: when it fails, all of them do")
    assert "a SIM of another network" in found.mend


def test_the_config_knows_more_brands(patient: Patient) -> None:
    patient.configure(of("au", "mineo", "carriers: {mineo: au}"))
    patient.says(CHECK, Level.WARNING, "the network au")


def test_two_slots_of_one_modem_are_meant_so(patient: Patient) -> None:
    slots = (f"  - {{name: sim{n}, modem: {{imei: '356938035640018', slot: {n}}}}}" for n in (1, 2))
    patient.configure("\n".join(("uplinks:", *slots)))
    patient.says(CHECK, Level.NOTE, "sim1 and sim2 share a modem")


def test_the_agents_word_counts(patient: Patient) -> None:
    """It knows what modems tell."""
    patient.configure(of("au", "docomo"))
    shared = {"au": "other", "other": "au"}
    uplinks = [
        {"name": name, "shared_fate": [{"uplink": other, "why": "hub", "text": "the USB hub 1-1"}]}
        for name, other in shared.items()
    ]
    line = json.dumps({"ok": True, "status": {"agent": {"version": "1", "pid": 1}, "uplinks": uplinks}}).encode()
    with speaking(patient, line + b"\n"):
        found = patient.says(CHECK, Level.WARNING, "au and other share the USB hub 1-1")
    assert "power supply" in found.mend
