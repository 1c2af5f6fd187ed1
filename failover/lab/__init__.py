"""The lab: real carriers on one machine, in network namespaces, for the demo, tests and benches.

A van that runs never imports it.
"""
