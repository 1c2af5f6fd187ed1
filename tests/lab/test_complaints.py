"""Users' loudest complaints of every peer, and the tests that fail when one comes true here.

Whoever moves or renames one of those has to say so in this table.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
COMPLAINTS = {
    "flows stay on the wrong, metered link for hours after failback": (
        "agent/test_tunnels.py::test_a_pinned_tunnel_survives_each_switch",
        "core/test_eviction.py::test_a_failback_takes_flows_along_only_if_it_is_told_to",
        "core/test_gateway.py::test_a_failback_takes_what_is_forwarded_along_only_if_so_wished",
    ),
    "a flush kills unrelated connections": (
        "agent/test_moving.py::test_a_conviction_breaks_what_is_open_and_nothing_else",
        "kernel/test_destroy.py::test_what_is_left_alone_in_any_case",
        "kernel/test_conntrack.py::test_only_what_has_the_mark_goes_whatever_others_write_beside_it",
    ),
    "states are killed before the new route is in": (
        "core/test_eviction.py::test_the_kernel_leads_elsewhere_before_anything_breaks",
    ),
    "states are killed with no better link to go to": (
        "core/test_eviction.py::test_nothing_is_broken_while_nothing_better_is_there",
        "core/test_gateway.py::test_nothing_is_forgotten_while_nothing_better_is_there",
    ),
    "DNS is dead after the switch": (
        "names/test_agent.py::test_names_follow_there_and_back_and_cleanup_puts_all_back",
        "names/test_agent.py::test_a_question_under_way_is_asked_anew_over_the_new_uplink",
    ),
    "IPv6 is half done": (
        "kernel/test_layout.py::test_open_flows_stay_and_new_ones_move",
        "kernel/test_layout.py::test_a_router_that_was_silent_is_asked_again_at_the_next_packet",
        "kernel/test_layout.py::test_who_comes_in_by_a_standby_is_answered_by_it",
        "agent/test_gateway.py::test_who_comes_in_by_a_standby_is_answered_by_it",
        "lab/test_reasons.py::test_one_family_dies",
    ),
    "the box's own traffic ignores the policy": (
        "agent/test_steering.py::test_a_rule_holds_while_its_uplink_does_and_refuses_when_it_is_lost",
    ),
    "a VPN is pinned to the dead link": (
        "agent/test_tunnels.py::test_a_pinned_tunnel_survives_each_switch",
        "kernel/test_layout.py::test_a_host_route_to_a_lost_uplink_is_overridden_and_let_go",
    ),
}


@pytest.mark.parametrize("complaint", COMPLAINTS)
def test_it_is_told_of_when_it_comes_true(complaint: str) -> None:
    for place in COMPLAINTS[complaint]:
        file, _, name = place.partition("::")
        tree = ast.parse((TESTS / file).read_text())
        assert name in {one.name for one in tree.body if isinstance(one, ast.FunctionDef)}, place
