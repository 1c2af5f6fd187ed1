"""Probes bound to device and mark: icmp, tcp, dns, http, one file each. They know the words, never the brain."""

from failover.probes.runner import Probes

__all__ = ["Probes"]
