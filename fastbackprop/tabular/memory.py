"""The memory that a training needs, and that is available."""

import os

COPIES = 3  # of the features, in memory at once


def check(n_rows: int, n_features: int) -> None:
    """Raise MemoryError where so many features, float32, would not fit."""
    needed, there = COPIES * 4.0 * n_rows * n_features, available()
    if there is None or needed <= there:
        return
    fewer = max(1, int(n_rows * there / needed / 2))
    raise MemoryError(
        f"X becomes {n_rows:,} rows of {n_features:,} features: the training needs "
        f"{needed / 1e9:.1f} GB, {there / 1e9:.1f} GB are available. Fit on a sample of the rows, "
        f"such as X.sample({fewer:,}); predictions may come in pieces"
    )


def available() -> float | None:
    """Bytes; None where the system does not say."""
    try:
        with open("/proc/meminfo") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return 1024.0 * float(line.split()[1])
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (OSError, ValueError, AttributeError):
        return None
