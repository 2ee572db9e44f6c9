"""What measurements teach: residuals of groups and scenarios, honest intervals, and how good both are."""
