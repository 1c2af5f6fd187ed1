"""What `failover doctor` looks at."""
