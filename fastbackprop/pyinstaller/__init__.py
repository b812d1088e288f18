"""For PyInstaller, which finds the hook in this folder by the package's entry point."""

from pathlib import Path


def hook_folders() -> list[str]:
    """The folders with hooks."""
    return [str(Path(__file__).parent)]
