"""Where the log is committed: one module a kind of store.

A store has
    load() -> Loaded           once, before anything else
    append(entries, first_sequence, last_sequence)   commits a blob of entries (wire.encode_entries) in one transaction
    keep(table, sequence)      a bounded step of housekeeping, some times a second; table is the truth at sequence
    close()
and keeps the deployment's key. Each raises StoreError. An append that returned survives
the death of every process.
"""

from typing import NamedTuple

KEY_OCTETS = 16      # the deployment's HashKey (sipcore/hashing.pxd)
KINDS = ("memory:", "sqlite:///PATH")


class StoreError(Exception):
    """The store cannot be used; the text is one sentence for the operator."""


class Blob(NamedTuple):
    entries: object   # Entries (wire.decode_entries)
    shift_ms: int     # to be added to the times in them: they may be another boot's
    numbered: bool    # a piece of this epoch's log; else of an earlier one's, or bindings without numbers


class Loaded(NamedTuple):
    epoch: int        # of the log; a new one where monotonic times of its last life mean nothing any more
    sequence: int     # of the last entry committed
    key: bytes        # KEY_OCTETS
    blobs: object     # iterator of Blob: applied in this order they are the truth


def open_store(url):
    """The store that [store] url names."""
    # each kind is imported only where it is used: a memory-only edge needs no SQLite
    if url == "memory:":
        from supervisor.stores.memory import MemoryStore  # noqa: PLC0415

        return MemoryStore()
    if url.startswith("sqlite:///"):
        from supervisor.stores.sqlite import SqliteStore  # noqa: PLC0415

        return SqliteStore(url[len("sqlite://"):])
    raise StoreError(f"[store] url: found {url!r}, expected one of {', '.join(KINDS)}")
