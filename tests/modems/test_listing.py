"""`failover modems` asks the real ModemManager; what it prints is a config."""

from __future__ import annotations

import json
from pathlib import Path

from failover.lab.namespaces import Namespace
from tests.agent.running import command
from tests.modems.at import AtModem
from tests.modems.mbim import MbimModem
from tests.modems.rig import Rig


def test_every_sim_is_listed_as_the_config_wants_it(rig: Rig, mbim: MbimModem, at: AtModem, tmp_path: Path) -> None:
    for modem in (mbim, at):
        rig.manager.listed(modem.imei)
    status, out, err = command(rig.inside, "modems")
    assert (status, err) == (0, "")
    path = tmp_path / "failover.yaml"
    path.write_text(out)
    status, checked, err = command(rig.inside, "check", "--json", str(path))
    assert status == 0, out + err
    uplinks = [one["modem"] for one in json.loads(checked)["uplinks"]]
    assert len(uplinks) == 3
    for modem, slot in ((mbim, 1), (at, 1), (mbim, 2)):
        sim = modem.sims[slot - 1]
        assert sim is not None
        assert f'imei: "{modem.imei}", slot: {slot}' in out
    assert mbim.sim is not None
    assert f'slot: {mbim.slot}, iccid: "{mbim.sim.iccid}"' in out


def test_without_a_manager_the_mend_is_said(rig: Rig, van: Namespace) -> None:
    rig.box.kill_modem_manager()
    try:
        status, out, err = command(rig.inside, "modems")
        assert (status, out) == (1, "")
        assert err.startswith("failover: ModemManager does not run (`systemctl start ModemManager`; ")
        status, out, _ = command(rig.inside, "modems", "--json")
        assert (status, json.loads(out)) == (1, {"whole": True, "modems": []})
    finally:
        rig.start()
