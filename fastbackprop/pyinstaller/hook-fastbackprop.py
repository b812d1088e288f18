"""What a frozen program needs of fastbackprop, and its imports do not show.

Engines, formats and mathematics are imported by name. The sources go along as files: the machine
code that is kept on disk is named by a hash of them.
"""

from pathlib import Path

import fastbackprop

OPTIONAL = ("commands", "dask", "onnx", "plot", "pyinstaller", "skl2onnx", "sklearn", "tabular")
FOLDER = Path(fastbackprop.__file__).parent


def _modules() -> list[str]:
    """All that need no optional package: others come along where the program imports them."""
    names = []
    for path in sorted(FOLDER.rglob("*.py")):
        parts = path.relative_to(FOLDER).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        if not parts or (parts[0] not in (*OPTIONAL, "__main__")):
            names.append(".".join(("fastbackprop", *parts)))
    return names


hiddenimports = _modules()
module_collection_mode = {"fastbackprop": "pyz+py"}
