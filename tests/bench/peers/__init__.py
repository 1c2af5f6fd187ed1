"""Other people's failover on the same lab: what each costs, how long its users wait, and the ratio to ours."""
