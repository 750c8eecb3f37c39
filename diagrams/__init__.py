"""Reads the tables, draws them and explores the cores."""
