"""A real Mephisto core that runs one scenario and tells what happens in JSON lines.

It runs in the environment that has mephisto, so it uses the standard library and mephisto only.
Importing this package first makes mephisto importable on Python 3.11 and later.
"""

import dataclasses
import inspect

__all__: list[str] = []


def _allow_unhashable_defaults() -> None:
    """Give dataclasses back the test for a mutable default that it had before Python 3.11.

    Mephisto's configuration uses instances of dataclasses as defaults. They were legal when it was
    written; since 3.11 every unhashable default is refused.
    """
    source = inspect.getsource(dataclasses._get_field)  # type: ignore[attr-defined]
    today = "f.default.__class__.__hash__ is None"
    if today not in source:
        return
    before = source.replace(today, "isinstance(f.default, (list, dict, set))")
    exec(compile(before, dataclasses.__file__, "exec"), vars(dataclasses))


_allow_unhashable_defaults()
