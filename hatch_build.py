"""Machine code in a wheel: HATCH_BUILD_HOOK_ENABLE_CUSTOM=1 pip wheel --no-deps .

Without the variable a wheel has Python files alone, serves every platform, and is made in a second.
FASTBACKPROP_LEVELS chooses among the levels of fastbackprop/jit/processor.py, by LLVM's names, and
FASTBACKPROP_DTYPES among float32 and float64.
"""

import os
import platform
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class MachineCode(BuildHookInterface):
    """Compiles the default engine for each level, and adds the files to the wheel."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Hatchling calls this before a build."""
        if self.target_name != "wheel" or version == "editable":
            return
        self.folder = tempfile.TemporaryDirectory()
        sys.path.insert(0, self.root)
        from fastbackprop.jit.cache import SHIPPED, pack
        from fastbackprop.jit.processor import levels_here

        chosen = os.environ.get("FASTBACKPROP_LEVELS", "").split()
        levels = [level for level in levels_here() if not chosen or level.cpu in chosen]
        if not levels:
            raise SystemExit(
                f"FASTBACKPROP_LEVELS={' '.join(chosen)} names no level of this machine"
            )
        dtypes = os.environ.get("FASTBACKPROP_DTYPES", "float32 float64").split()
        parts = [(level, dtype) for level in levels for dtype in dtypes]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            failed = any(pool.map(self._compile, parts))
        if failed:
            raise SystemExit("the package could not be compiled")
        (compiled,) = Path(self.folder.name, "fastbackprop").iterdir()
        packed = Path(self.folder.name, "packed")
        packed.mkdir()
        pack(compiled.glob("*.bin"), packed, levels)
        place = SHIPPED.relative_to(self.root).as_posix()
        for file in packed.iterdir():
            build_data["force_include"][str(file)] = f"{place}/{file.name}"
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{_platform()}"

    def _compile(self, part: tuple[Any, str]) -> int:
        """In a process of its own: Numba reads its options once. Nothing compiled is run."""
        level, dtype = part
        environment = {name: v for name, v in os.environ.items() if not name.startswith("NUMBA_")}
        environment |= {
            "PYTHONPATH": os.pathsep.join([self.root, *filter(None, sys.path)]),
            "NUMBA_CACHE_DIR": self.folder.name,
            "NUMBA_CPU_NAME": level.cpu,
            "NUMBA_CPU_FEATURES": level.features,
            "FASTBACKPROP_VECTOR_BYTES": str(level.vector_bytes),
        }
        options = ["--all", "--engine", "tiles", "--dtype", dtype, "--compile-only"]
        command = [sys.executable, "-m", "fastbackprop", "warmup", *options]
        return subprocess.run(command, env=environment, cwd=self.folder.name).returncode

    def finalize(self, version: str, build_data: dict[str, Any], artifact: str) -> None:
        """Hatchling calls this after a build."""
        if hasattr(self, "folder"):
            self.folder.cleanup()


def _platform() -> str:
    """Pip's name of the systems that the code runs on."""
    if sys.platform == "darwin":
        return f"macosx_11_0_{platform.machine()}"
    name = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    return name.replace("linux", "manylinux_2_17")
