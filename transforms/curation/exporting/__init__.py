"""Exports the audio of kept utterances, and what trainers read it with."""
