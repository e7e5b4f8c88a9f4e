"""Messages that kill: what a worker had in hand when it died, and what dies of it twice is refused from then on."""

from collections import OrderedDict
from pathlib import Path

from sipcore.counters import Page

DEATHS = 2            # of one message until it is refused: one may be chance (an operator's kill), two are not
REMEMBERED_MAX = 256  # messages seen at one death; each up to 64 KB
FOLDER = "quarantine"


class Quarantine:
    """page: where workers leave what is in hand, and read what to refuse. directory: its `quarantine` keeps it."""

    def __init__(self, page: Page, directory: Path) -> None:
        self.page = page
        self.directory = directory / FOLDER
        self.deaths: OrderedDict[bytes, int] = OrderedDict()

    def died(self, worker: int) -> Path | None:
        """A worker died unasked; the file of the message that is refused from now on, if this was its last time."""
        octets = self.page.in_hand(worker)
        self.page.put_down(worker)
        if not octets:
            return None
        self.deaths[octets] = self.deaths.pop(octets, 0) + 1
        if self.deaths[octets] < DEATHS:
            if len(self.deaths) > REMEMBERED_MAX:
                self.deaths.popitem(last=False)
            return None
        del self.deaths[octets]
        path = self.directory / f"{self.page.quarantine(octets):016x}.sip"
        self.directory.mkdir(exist_ok=True)
        path.write_bytes(octets)
        return path
