"""Shared parts of the commands: arguments, runners, locks and errors."""
