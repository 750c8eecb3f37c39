"""Reads the tables, draws them and explores the cores."""

from statecore.diagrams.targets import DiagramError, draw, load_target

__all__ = ["DiagramError", "draw", "load_target"]
