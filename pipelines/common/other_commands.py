"""Finds the commands that have an option, for the message about an option that belongs to another command."""

from __future__ import annotations

from importlib.resources import files


def commands_with(option: str) -> list[str]:
    """Returns the names of the commands whose modules define an option, in alphabetical order.

    The modules are searched as texts, because importing all of them takes seconds. Options that several commands share are
    defined elsewhere and are not found.

    Args:
        option: the option with its dashes, such as "--carry".
    """
    modules = sorted(files("pipelines").iterdir(), key=lambda path: path.name)
    return [
        path.name.removesuffix(".py")
        for path in modules
        if path.name.endswith(".py") and f'"{option}"' in path.read_text(encoding="utf-8")
    ]


def option_hint(option: str) -> str:
    """Returns a clause on the commands that have an option; empty if there are none."""
    jobs = [f"`audiosieve {job}`" for job in commands_with(option)]
    if not jobs:
        return ""
    return f"{jobs[0]} has it" if len(jobs) == 1 else f"{', '.join(jobs[:-1])} and {jobs[-1]} have it"
