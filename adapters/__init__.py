"""Transports around the engine: the only place that awaits."""
