"""Tools for people: a telemetry simulator, and the function run on this machine. Never part of the package."""
