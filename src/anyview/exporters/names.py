from collections.abc import Sequence


def file_stems(names: Sequence[str]) -> tuple[str, ...]:
    """Name one file per picture: the picture's own name without its suffix, numbered where those are not unique."""
    stems = [name.replace("\\", "/").strip("/").replace("/", "_").rsplit(".", 1)[0] or "view" for name in names]
    # Case does not count: file systems differ in whether it makes two files.
    if len({stem.lower() for stem in stems}) == len(stems):
        return tuple(stems)
    return tuple(f"{index:04d}_{stem}" for index, stem in enumerate(stems))
