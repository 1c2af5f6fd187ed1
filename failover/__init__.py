"""failover: a multi-carrier failover agent."""

__version__ = "0.1.0"
