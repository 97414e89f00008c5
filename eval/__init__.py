"""Judges finished models and results; each file is a command of its own."""
