"""The shared page as NumPy sees it: counters summed over workers, and the destinations' loads.

Reads what workers write without a lock: each number is whole, sums may be a moment apart. Copies only what it returns.
"""

import numpy as np

from sipcore.counters import (
    COUNTER_NAMES,
    COUNTERS_OFFSET,
    COUNTERS_SHAPE,
    GAUGES,
    LOAD_FIELDS,
    LOADS_OFFSET,
    LOADS_SHAPE,
    Page,
)

SUMMED_GAUGES = ("transactions",)  # each worker's own, so the sum is the edge's
BUSY_UNTIL = LOAD_FIELDS.index("busy_until_ms")


class Metrics:
    """A view of one page for the first `workers` rows."""

    def __init__(self, page: Page, workers: int) -> None:
        if not 1 <= workers <= COUNTERS_SHAPE[0]:
            raise ValueError(f"{workers} workers: expected 1 to {COUNTERS_SHAPE[0]}")
        counters = np.ndarray(COUNTERS_SHAPE, np.uint64, page.buffer, COUNTERS_OFFSET)
        loads = np.ndarray(LOADS_SHAPE, np.uint64, page.buffer, LOADS_OFFSET)
        self._counters = counters[:workers, : len(COUNTER_NAMES)]
        self._loads = loads[:workers]

    def totals(self) -> dict[str, int]:
        """Sums over all workers by name; gauges only where a sum means something."""
        sums = self._counters.sum(axis=0).tolist()
        return {
            name: value
            for name, value in zip(COUNTER_NAMES, sums, strict=True)
            if name not in GAUGES or name in SUMMED_GAUGES
        }

    def workers(self) -> list[dict[str, int]]:
        """Each worker's counters and gauges by name."""
        return [dict(zip(COUNTER_NAMES, row, strict=True)) for row in self._counters.tolist()]

    def loads(self) -> np.ndarray:
        """Per slot the LOAD_FIELDS over all workers, as int64: sums, and of busy_until_ms the latest."""
        sums = self._loads.sum(axis=0).astype(np.int64)
        sums[:, BUSY_UNTIL] = self._loads[:, :, BUSY_UNTIL].max(axis=0)
        return sums

    def load(self, slot: int) -> dict[str, int]:
        """One destination over all workers: LOAD_FIELDS, and `calls` in progress."""
        if not 0 <= slot < LOADS_SHAPE[1]:
            raise IndexError(f"destination slot {slot}: expected 0 to {LOADS_SHAPE[1] - 1}")
        rows = self._loads[:, slot]
        load = dict(zip(LOAD_FIELDS, rows.sum(axis=0).tolist(), strict=True))
        load["busy_until_ms"] = int(rows[:, BUSY_UNTIL].max())
        # a call may end at another worker than it began, and the two rows are not read at one moment
        load["calls"] = max(0, load["started"] - load["ended"])
        return load
