"""The only room that speaks netlink: the kernel's routing read, changed and watched. See README.md."""

from failover.kernel.kernel import Kernel
from failover.kernel.ledger import Change, Ledger
from failover.kernel.watch import Dirty, Watch

__all__ = ["Change", "Dirty", "Kernel", "Ledger", "Watch"]
