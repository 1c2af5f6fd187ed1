"""What `failover doctor` looks at: whatever would break failover on this machine, each with its mend. See README.md."""

from failover.doctor.examination import examine
from failover.doctor.finding import Finding, Level, document, lines

__all__ = ["Finding", "Level", "document", "examine", "lines"]
