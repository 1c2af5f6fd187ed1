"""What is read of the kernel only when somebody examines it: where others keep default routes. Nothing is changed."""

from __future__ import annotations

from contextlib import closing

from failover.kernel import routes
from failover.kernel.netlink import Netlink
from failover.model import FAMILIES, Family


def tables_with_default() -> frozenset[tuple[Family, int]]:
    """Every routing table that has a default route, whoever made it. Raises KernelError."""
    with closing(Netlink()) as netlink:
        return frozenset(
            (family, table)
            for family in FAMILIES
            for body in netlink.dump(routes.RTM_GETROUTE, routes.asked(family)).bodies
            if (table := routes.table_of(body)) is not None
        )
