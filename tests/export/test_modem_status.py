"""What status and metrics tell of modems, and what they must not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from failover.config.modems import Rung
from failover.export import modem_status
from failover.export.metrics import NAMES_MAX, Metrics, Picture
from failover.export.modem_metrics import OTHER, REPAIRS_MAX
from failover.export.status import document
from failover.model import Notice, NoticeKind
from failover.modem import Bearer, ModemState, Registration, Signal
from failover.picture import ModemView, Snapshot
from tests.cli.test_schemas import breakages, enumerations
from tests.export.pages import Samples, at, read
from tests.export.pictures import MODEM, NOW, VIEW, mobile, snapshot

SCHEMA = json.loads((Path(modem_status.__file__).parent / "schemas" / "status.json").read_text())
COLD = ModemView(2, MODEM, listed=True, switch_seconds=4.25)
GONE = ModemView(1, MODEM, listed=False)
NEVER = ModemView(1, None)


def told(view: ModemView) -> dict[str, Any]:
    return modem_status.section(view, NOW)


def page(*views: ModemView, metrics: Metrics | None = None) -> Samples:
    return read((metrics or Metrics()).render(Picture(mobile(*views), NOW, {})))


# --- status ----------------------------------------------------------------------------------------------------------


def test_a_modem_that_serves_its_uplink() -> None:
    found = told(VIEW)
    assert (found["imei"], found["maker"], found["model"], found["firmware"]) == ("…0011", "Quectel", "EM12", "R01")
    assert (found["state"], found["listed"], found["registration"]) == ("connected", True, "home")
    assert (found["operator_code"], found["operator_name"], found["roaming"]) == ("44051", "KDDI", False)
    assert (found["technologies"], found["attached"]) == (["lte", "5gnr"], True)
    assert found["signal"] == {"technology": "lte", "rsrp_dbm": -97.0, "rsrq_db": -11.5, "snr_db": 9.0}
    assert found["bearer"] == {
        "connected": True,
        "interface": "wwan-au",
        "error": "",
        "received_bytes": 1000,
        "sent_bytes": 200,
    }
    assert [(slot["slot"], slot["in_use"], slot["present"], slot["iccid"]) for slot in found["slots"]] == [
        (1, True, True, "…0011"),
        (2, False, True, ""),
        (3, False, False, ""),
    ]
    assert found["slots"][0]["operator_name"] == "KDDI"
    assert found["slots"][1]["esim"]


@pytest.mark.parametrize("view", [COLD, GONE, NEVER], ids=["another SIM", "not listed", "never seen"])
def test_no_network_is_told_of_but_that_of_the_uplinks_own_sim(view: ModemView) -> None:
    found = told(view)
    assert (found["registration"], found["operator_name"], found["technologies"]) == ("unknown", "", [])
    assert set(found["signal"].values()) == {"", None}
    assert not found["bearer"]["connected"]
    samples = page(view)
    assert not [name for name, _ in samples if "_signal_" in name]
    assert not [name for name, _ in samples if "_modem_receive_" in name or "_attached" in name]
    assert at(samples, "modem_connected", uplink="au") == 0
    assert at(samples, "modem_registration", uplink="au", state="unknown") == 1
    assert not [labels for name, labels in samples if name == "failover_modem_info" and ("operator", "KDDI") in labels]


def test_why_there_is_no_bearer() -> None:
    lost = told(replace(VIEW, modem=replace(MODEM, bearers=(Bearer("/1"), Bearer("/2", error="no carrier")))))
    assert (lost["bearer"]["connected"], lost["bearer"]["error"]) == (False, "no carrier")


def test_repair_is_told_in_ages() -> None:
    view = replace(
        VIEW, step="register", step_next="reset", step_due=NOW + 12.5, resets=(NOW - 90000, NOW - 60), slot_due=NOW - 1
    )
    assert told(view)["repair"] == {
        "step": "register",
        "next": "reset",
        "next_seconds": 12.5,
        "obstacle": "",
        "resets_24h": 1,
    }
    assert told(view)["slot_due_seconds"] == 0.0
    (one,) = modem_status.repairs(mobile(view, VIEW), NOW)
    assert (one["uplink"], one["next"], one["slot"]) == ("au", "reset", 1)


def test_it_is_null_where_there_is_none() -> None:
    found: dict[str, Any] = document(mobile(), NOW)
    au, docomo = found["uplinks"]
    assert (au["modem"]["slot"], docomo["modem"]) == (1, None)
    assert modem_status.repairs(snapshot(), NOW) == []


@pytest.mark.parametrize("view", [VIEW, COLD, GONE, NEVER], ids=["well", "cold", "gone", "never"])
def test_nothing_that_tells_a_person_is_told(view: ModemView) -> None:
    shown = mobile(view)
    said = json.dumps(document(shown, NOW)) + Metrics().render(Picture(shown, NOW, {})).decode()
    assert MODEM.imei not in said
    assert "8981300000000000011" not in said


def judge(part: str) -> Draft202012Validator:
    return Draft202012Validator({**SCHEMA["$defs"][part], "$defs": SCHEMA["$defs"]})


@pytest.mark.parametrize("view", [VIEW, COLD, GONE, NEVER], ids=["well", "cold", "gone", "never"])
def test_the_section_is_what_the_schema_says_and_a_broken_one_is_not(view: ModemView) -> None:
    found = told(view)
    assert [error.message for error in judge("modem").iter_errors(found)] == []
    broken = list(breakages(found))
    assert len(broken) > 30
    for what, copy in broken:
        assert not judge("modem").is_valid(copy), what


def test_the_schema_has_every_word_there_is() -> None:
    lists = list(enumerations(SCHEMA["$defs"]["modem"]))
    assert {state.name.lower() for state in ModemState} in lists
    assert {state.value for state in Registration} in lists
    assert {step.value for step in Rung} | {""} in lists


# --- metrics ---------------------------------------------------------------------------------------------------------


def test_gauges_of_a_modem() -> None:
    samples = page(VIEW)
    assert at(samples, "modem_signal_rsrp_dbm", uplink="au", technology="lte") == -97
    assert at(samples, "modem_signal_rsrq_db", uplink="au", technology="lte") == -11.5
    assert at(samples, "modem_signal_snr_db", uplink="au", technology="lte") == 9
    states = {
        dict(labels)["state"]: v for (name, labels), v in samples.items() if name == "failover_modem_registration"
    }
    assert states == {state.value: float(state is Registration.HOME) for state in Registration}
    network = {"operator": "KDDI", "operator_code": "44051", "technology": "5gnr"}
    assert at(samples, "modem_info", uplink="au", slot="1", maker="Quectel", model="EM12", **network) == 1
    assert at(samples, "modem_connected", uplink="au") == at(samples, "modem_attached", uplink="au") == 1
    assert at(samples, "modem_receive_bytes_total", uplink="au") == 1000
    assert at(samples, "modem_transmit_bytes_total", uplink="au") == 200
    assert at(samples, "modem_refused", uplink="au") == 0
    assert at(page(replace(VIEW, refused="slot 1 holds …22")), "modem_refused", uplink="au") == 1


def test_what_is_not_told_has_no_series() -> None:
    partly = replace(VIEW, modem=replace(MODEM, signal=Signal(snr=3.0, technology="5gnr")))
    assert [(name, dict(labels)["technology"]) for name, labels in page(partly) if "_signal_" in name] == [
        ("failover_modem_signal_snr_db", "5gnr")
    ]


def test_only_modems_have_series_of_modems() -> None:
    alone = Snapshot({}, snapshot().uplinks, None, None, False)
    samples = read(Metrics().render(Picture(alone, NOW, {})))
    assert not [name for name, _ in samples if "_modem_" in name or "_sms_" in name]
    assert {dict(labels)["uplink"] for name, labels in page() if "_modem_" in name} == {"au"}


def repaired(step: str, uplink: str = "au", carrier: str = "KDDI", **fields: object) -> Notice:
    return Notice(NoticeKind.MODEM, "x", {"uplink": uplink, "carrier": carrier, "step": step, **fields})


def repairs(samples: Samples, step: str, result: str, carrier: str = "KDDI") -> float:
    return at(samples, "modem_repairs_total", uplink="au", carrier=carrier, step=step, result=result)


def test_repairs_and_what_helped_are_counted_per_carrier() -> None:
    metrics = Metrics()
    assert repairs(page(metrics=metrics), "reset", "taken") == 0, (
        "a rate sees the first only where there was a 0 before"
    )
    for notice in (
        repaired("reconnect", reason="silent"),
        repaired("reset", reason="silent"),
        repaired("reset", helped=True),
        repaired("reset", carrier="povo", reason="silent"),
        repaired("reset", error="refused"),
        repaired("connect", error="no service"),
        Notice(NoticeKind.MODEM, "changed its SIM", {"uplink": "au", "carrier": "KDDI", "slot": 2}),
    ):
        metrics.noticed(notice)
    samples = page(metrics=metrics)
    assert [repairs(samples, step, "taken") for step in Rung] == [1, 0, 1, 0, 0]
    assert [repairs(samples, step, "helped") for step in Rung] == [0, 0, 1, 0, 0]
    assert (repairs(samples, "reset", "taken", "povo"), repairs(samples, "reset", "helped", "povo")) == (1, 0)


def test_repairs_of_what_is_gone_are_forgotten_and_all_are_bounded() -> None:
    metrics = Metrics()
    metrics.noticed(repaired("reset", "docomo", "docomo", reason="silent"))
    assert not [
        labels for name, labels in page(metrics=metrics) if "_repairs_" in name and ("uplink", "docomo") in labels
    ]
    for number in range(REPAIRS_MAX + 100):
        metrics.noticed(repaired("reset", carrier=f"net{number}", reason="silent"))
    for number in range(NAMES_MAX + 1):
        metrics.noticed(repaired("reset", f"ppp{number}", reason="silent"))
    samples = page(metrics=metrics)
    kept = [labels for name, labels in samples if name == "failover_modem_repairs_total"]
    assert len(kept) <= 2 * (REPAIRS_MAX + 5)
    assert at(samples, "modem_repairs_total", uplink=OTHER, carrier=OTHER, step="reset", result="taken") > 100
