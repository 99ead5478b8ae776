"""The readers run in an environment of their own."""

collect_ignore = ["readers"]
