import tyro

FLAT = tyro.conf.arg(name="")
"""For a field that holds options of its own: they become options of the command, without a prefix."""
