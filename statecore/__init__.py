"""An explicit state-machine engine for Mephisto's Architect API."""
