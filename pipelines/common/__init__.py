"""Shared parts of the commands: arguments and their types, errors, runners, and the lock of an output."""
