"""`python -m supervisor FD`: the supervisor, told what it is by the launch document in FD, for which a spare waits."""

import asyncio
import faulthandler
import signal
import sys

from supervisor import launch as launches
from supervisor import logs
from supervisor.control import ControlError
from supervisor.dispatcher_list import ListError
from supervisor.service import Supervisor
from supervisor.stores import (
    StoreError,
    memory,  # noqa: F401  a spare has all in memory that it will need: on disk there may be another version by then
    sqlite,  # noqa: F401
)

EX_CONFIG = 78  # sysexits.h: the arbiter does not start us again for this


async def serve(launch):
    await Supervisor(launch).run()


def main(fd):
    """The exit code: EX_CONFIG where the operator must mend something before a first start can succeed."""
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    launch = launches.read(fd)
    if launch is None:
        return 0
    logger = logs.configure("supervisor", launch.settings["log"]["level"], launch.settings["log"]["format"])
    try:
        asyncio.run(serve(launch))
    except (ListError, StoreError, ControlError, OSError) as error:
        logger.critical("%s", error)
        return 1 if launch.restarts else EX_CONFIG
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
