"""`python -m benchmarks.scaling [--write]`: on paper, what more cores than this machine has would do.

How even the steering is over 2 to 64 workers, and rendezvous hashing over 2 to 1,000 destinations, by the functions
that the edge itself runs. The same figures come out on every machine. --write puts them into docs/scaling.md.
"""

from __future__ import annotations

import argparse
import re
import struct
from collections.abc import Sequence

import numpy as np

from benchmarks.branches import RECEIVED, STYLES, TRANSACTIONS, branches
from benchmarks.edge import ROOT
from sipcore.algorithms import ALGORITHMS, STATES
from sipcore.dispatcher import DispatcherTable
from sipcore.hashing import keyed_hash
from sipcore.steering import branch_hash
from supervisor.dispatcher import identity

PAGE = ROOT / "docs" / "scaling.md"
WORKERS = (2, 4, 8, 16, 32, 64)
CALLS = 100_000          # ten seconds of a busy edge
WINDOWS = (100, 1_000, 10_000, 100_000)  # calls
SOURCES = (1, 8, 64, 1_000)
DRAWINGS = 200           # of chance, for what has no figure of its own
DESTINATIONS = (2, 5, 20, 100, 500, 1_000)
KEYS = 200_000           # Call-IDs
WEIGHTS = (1, 2, 3, 4, 5)
SET = 1
CHANCE_SEED = 7

Row = list[str]


# Steering.


def owners(style: str, calls: int, workers: int, seed: int = 1) -> np.ndarray:
    """The worker of each transaction, three a call."""
    return hashes(style, calls, seed) % workers


def hashes(style: str, calls: int, seed: int = 1) -> np.ndarray:
    made = branches(style, calls * TRANSACTIONS, seed)
    return np.fromiter((branch_hash(branch) for branch in made), np.uint32, len(made))


def mixed_hashes(calls: int) -> np.ndarray:
    """Every style of the field in turn, as from many sources."""
    each = [hashes(style, calls // len(STYLES), seed) for seed, style in enumerate(STYLES)]
    return np.concatenate(each)


def imbalance(owner: np.ndarray, workers: int) -> float:
    """Datagrams of the busiest worker over the mean; a call's weigh as RECEIVED says."""
    weights = np.resize(np.array(RECEIVED, float), len(owner))
    load = np.bincount(owner, weights, minlength=workers)
    return float(load.max() / load.mean())


def windowed(values: np.ndarray, workers: int, calls: int, most: int = DRAWINGS) -> float:
    """The mean imbalance of windows of so many calls."""
    size = calls * TRANSACTIONS
    starts = range(0, min(len(values) - size + 1, most * size), size)
    return float(np.mean([imbalance(values[at:at + size] % workers, workers) for at in starts]))


def by_chance(workers: int, calls: int, drawings: int) -> float:
    """What a perfect hash has: every transaction at a worker drawn by lot."""
    chance = np.random.default_rng(CHANCE_SEED)
    drawn = (chance.integers(0, workers, calls * TRANSACTIONS) for _ in range(drawings))
    return float(np.mean([imbalance(owner, workers) for owner in drawn]))


def by_address(workers: int, sources: int, destinations: int = 2) -> float:
    """Without the filter: the kernel's hash of the addresses, half of a call's datagrams from each side."""
    chance, found = np.random.default_rng(CHANCE_SEED), []
    for _ in range(DRAWINGS):
        load = np.bincount(chance.integers(0, workers, sources), minlength=workers) / sources
        load += np.bincount(chance.integers(0, workers, destinations), minlength=workers) / destinations
        found.append(load.max() / load.mean())
    return float(np.mean(found))


def steering_rows(calls: int = CALLS, workers: Sequence[int] = WORKERS) -> list[Row]:
    """A row a style, one source each; then all styles together, chance, and what the kernel does by itself."""
    rows = []
    for style in STYLES:
        values = hashes(style, calls)
        rows.append([style, *(f"{imbalance(values % number, number):.3f}" for number in workers)])
    values = mixed_hashes(calls)
    rows.append(["all of them", *(f"{imbalance(values % number, number):.3f}" for number in workers)])
    rows.append(["by lot", *(f"{by_chance(number, calls, 5):.3f}" for number in workers)])
    for sources in SOURCES:
        name = f"no filter, {sources:,} source" + "s" * (sources > 1)
        rows.append([name, *(f"{by_address(number, sources):.2f}" for number in workers)])
    return rows


def window_rows(style: str = "PJSIP", windows: Sequence[int] = WINDOWS) -> list[Row]:
    values = hashes(style, max(windows))
    return [
        [f"{calls:,}", *(f"{windowed(values, number, calls):.2f}" for number in WORKERS)] for calls in windows
    ]


# Rendezvous hashing.


def make_rows(count: int, weights: Sequence[int] = (1,)) -> list[list]:
    """Destinations as the log carries them, ids as the supervisor gives them; weights in turn."""
    rows, taken = [], set()
    for number in range(count):
        host = f"10.0.{number // 250}.{number % 250 + 1}"
        uri = f"sip:{host}:5060"
        taken.add(name := identity(SET, uri, taken))
        where = struct.pack("=BBHHH16s", 4, 0, 0, 5060, 0, bytes(map(int, host.split("."))))
        rows.append([name, number, uri.encode(), where, 0, weights[number % len(weights)], 2000, STATES["active"]])
    return rows


def call_keys(count: int) -> list[int]:
    return [keyed_hash(bytes(range(16)), b"%d-23170@192.0.2.7" % number) for number in range(count)]


def chosen(rows: list[list], keys: Sequence[int]) -> np.ndarray:
    """The id of the destination of each key."""
    table = DispatcherTable()
    table.replace(1, [[SET, ALGORITHMS["hash-call-id"], rows]])
    return np.fromiter((table.choose(SET, key=key) for key in keys), np.int64, len(keys))


def shares(choices: np.ndarray, rows: list[list]) -> np.ndarray:
    """Keys of each destination over what its weight gives it."""
    weights = np.array([row[5] for row in rows], float)
    found = np.array([np.count_nonzero(choices == row[0]) for row in rows])
    return found / (weights / weights.sum() * len(choices))


def spread_by_chance(count: int, keys: int) -> float:
    """The standard deviation of a share where each key is drawn by lot (binomial)."""
    return ((count - 1) / keys) ** 0.5


def change_of(before: np.ndarray, after: np.ndarray, gone: int = 0, come: int = 0) -> tuple[float, int]:
    """The share of keys that moved, and how many moved without need: neither from who left nor to who came."""
    moved = before != after
    needless = moved & (before != gone) & (after != come)
    return float(moved.mean()), int(needless.sum())


def rendezvous_row(count: int, keys: Sequence[int]) -> Row:
    rows = make_rows(count + 1)
    newcomer, rows = rows[-1], rows[:-1]
    before = chosen(rows, keys)
    share = shares(before, rows)
    leaver = rows[count // 2]
    without = chosen([row for row in rows if row is not leaver], keys)
    lost, needless_lost = change_of(before, without, gone=leaver[0])
    gained, needless_gained = change_of(before, chosen([*rows, newcomer], keys), come=newcomer[0])
    heirs = np.unique(without[before == leaver[0]], return_counts=True)[1]
    numbers = np.array(keys, np.uint64)
    modulo = float((numbers % np.uint64(count) != numbers % np.uint64(count + 1)).mean())
    return [
        f"{count:,}", f"{share.std():.4f}", f"{spread_by_chance(count, len(keys)):.4f}", f"{share.max():.3f}",
        f"{lost:.4f}", f"{gained:.4f}", f"{1 / (count + 1):.4f}", str(needless_lost + needless_gained),
        f"{heirs.max() / heirs.sum():.3f}", f"{modulo:.3f}",
    ]  # fmt: skip


def weights_row(count: int, keys: Sequence[int]) -> Row:
    """Share over weight, by weight: the mean over all destinations of one weight. Then one weight is doubled."""
    rows = make_rows(count, WEIGHTS)
    before = chosen(rows, keys)
    share = shares(before, rows)
    weights = np.array([row[5] for row in rows])
    changed = [list(row) for row in rows]
    changed[0][5] *= 2
    moved, needless = change_of(before, chosen(changed, keys), come=changed[0][0])
    total = weights.sum()
    expected = 2 * weights[0] / (total + weights[0]) - weights[0] / total
    means = (f"{share[weights == weight].mean():.3f}" for weight in WEIGHTS)
    return [f"{count:,}", *means, f"{moved:.4f}", f"{expected:.4f}", str(needless)]


# The page.


def markdown(head: Sequence[str], rows: list[Row]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def steering_tables() -> dict[str, str]:
    workers = [f"{number} workers" for number in WORKERS]
    return {
        "steering": markdown(["branches", *workers], steering_rows()),
        "windows": markdown(["calls", *workers], window_rows()),
    }


def rendezvous_tables() -> dict[str, str]:
    keys = call_keys(KEYS)
    head = ["destinations", "spread", "by lot", "largest share", "moved: one leaves", "one comes", "least possible",
            "moved needlessly", "largest heir", "hash mod n moves"]  # fmt: skip
    weighted = ["destinations", *(f"weight {weight}" for weight in WEIGHTS), "moved: one doubled", "least possible",
                "moved needlessly"]  # fmt: skip
    return {
        "rendezvous": markdown(head, [rendezvous_row(count, keys) for count in DESTINATIONS]),
        "weights": markdown(weighted, [weights_row(count, keys) for count in DESTINATIONS if count >= len(WEIGHTS)]),
    }


def put(page: str, tables: dict[str, str]) -> str:
    """The page with the blocks `<!-- NAME -->` to `<!-- end -->` filled anew; ValueError where one is missing."""
    for name, table in tables.items():
        block = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        page, found = block.subn(lambda match, table=table: f"{match[1]}{table}\n{match[2]}", page)
        if found != 1:
            raise ValueError(f"found {found} blocks <!-- {name} --> in the page, expected 1")
    return page


def show(tables: dict[str, str], write: bool) -> None:
    for name, table in tables.items():
        print(f"{name}\n\n{table}\n")
    if write:
        PAGE.write_text(put(PAGE.read_text(), tables))
        print(f"written: {PAGE}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/scaling.md")
    show({**steering_tables(), **rendezvous_tables()}, parser.parse_args(arguments).write)


if __name__ == "__main__":
    main()
