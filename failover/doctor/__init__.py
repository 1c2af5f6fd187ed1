"""What `failover doctor` looks at: whatever would break failover on this machine, each with its mend. See README.md.

Nothing is imported here: the trial of the kernel is a process of its own, and needs none of the checks.
"""
