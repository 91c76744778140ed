from dataclasses import dataclass

from anyview.model.config import PRESETS


@dataclass(frozen=True)
class Models:
    """List the models: parameters, what they can do, licence, and whether they are on this machine."""

    def run(self) -> None:
        """Print a table of the presets."""
        from anyview.model.checkpoint import is_local

        rows = [("model", "parameters", "licence", "here", "what it does")]
        for name, preset in PRESETS.items():
            here = "yes" if is_local(name) else "no"
            rows.append((name, f"{preset.parameters / 1e6:,.1f} M", preset.licence, here, preset.summary))
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        for row in rows:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
