"""``python -m statecore`` is the command line, which is an extra and so is imported only here."""

from statecore.adapters.entry import main

main()
