"""What the van's user does, a group of kinds of flows per file (the kinds: pattern.py).

What lives here: sockets, and the record of what was sent and answered. What an outage is, is in outage.py; which flows
there are at a time, and the talk with the lab, in traffic.py.
"""
