"""The three tasks of the lab."""
