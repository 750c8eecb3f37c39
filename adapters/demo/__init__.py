"""The demonstration tasks."""
