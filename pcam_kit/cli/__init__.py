"""The command line: one file a command. It calls `pcam_kit.api` and shows the result."""
