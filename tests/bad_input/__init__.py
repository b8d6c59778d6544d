"""Every mistake a user can make: exit code 2, one line that says what, where, expected, got; nothing half-written."""
