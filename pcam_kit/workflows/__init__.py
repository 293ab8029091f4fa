"""Use cases: one file each; typed and silent: they log, and report progress to a `Display`."""
