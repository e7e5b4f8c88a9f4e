"""Two real user agents, baresip: one registers and calls, the other answers behind the edge; set up, held, ended."""

from __future__ import annotations

import asyncio
import glob
import json
import socket
import subprocess
import wave
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.edge import free_port
from benchmarks.transactions import eventually

CONFIG = Path(__file__).parent / "baresip" / "config"
MODULES = "/usr/lib/baresip/modules"  # Debian's and Ubuntu's place
ANSWER_LIMIT_S = 10.0
VOICE_S = 60  # longer than any test: at the end of its file baresip ends the call


class Baresip:
    """One baresip with a config directory of its own, driven over ctrl_tcp (JSON in netstrings)."""

    def __init__(self, program: str, directory: Path, user: str, account: str) -> None:
        self.directory = directory
        directory.mkdir()
        self.port, self.control, rtp = free_pair(), free_port(), free_pair()
        self.uri = f"sip:{user}@127.0.0.1:{self.port}"
        voice = directory / "voice.wav"
        with wave.open(str(voice), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(8000)
            file.writeframes(bytes(2 * 8000 * VOICE_S))
        modules = next(iter(glob.glob("/usr/lib/*/baresip/modules")), MODULES)
        values = {"port": self.port, "control": self.control, "rtp": rtp, "rtp_end": rtp + 20}
        values |= {"voice": voice, "modules": modules}
        (directory / "config").write_text(CONFIG.read_text().format(**values))
        (directory / "accounts").write_text(account.format(uri=self.uri) + "\n")
        (directory / "contacts").write_text("")
        self.log = directory / "log.txt"
        self.events: list[dict] = []
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [program, "-4", "-s", "-f", str(directory)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    async def connect(self) -> Baresip:
        """Returns once it takes commands."""
        await eventually(self._try, ANSWER_LIMIT_S)
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.control)
        self.reading = asyncio.ensure_future(self._read())
        return self

    def _try(self) -> bool:
        assert self.process.poll() is None, f"baresip ended with {self.process.returncode}:\n{self.words()}"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.control)) == 0 if "ready" in self.words() else False

    def words(self) -> str:
        """All that it logged: every message, in and out."""
        return self.log.read_text(errors="replace")

    def command(self, command: str, parameters: str = "") -> None:
        body = json.dumps({"command": command, "params": parameters}).encode()
        self.writer.write(b"%d:%s," % (len(body), body))

    async def event(self, kind: str, count: int = 1) -> None:
        """Waits for the count-th event of a kind, such as CALL_ESTABLISHED."""
        try:
            await eventually(lambda: sum(event.get("type") == kind for event in self.events) >= count, ANSWER_LIMIT_S)
        except AssertionError as error:
            seen = [event.get("type") for event in self.events]
            raise AssertionError(f"no {kind}; events {seen}\n{self.words()[-5000:]}") from error

    async def _read(self) -> None:
        while length := await self.reader.readuntil(b":"):
            message = await self.reader.readexactly(int(length[:-1]) + 1)
            self.events.append(json.loads(message[:-1]))

    async def close(self) -> None:
        self.reading.cancel()
        self.writer.close()
        await asyncio.sleep(0)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def free_pair() -> int:
    """An even port, free with the next one in UDP and TCP."""
    while True:
        port = free_port() & ~1
        try:
            for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                for offset in (0, 1):
                    with socket.socket(socket.AF_INET, kind) as probe:
                        probe.bind(("127.0.0.1", port + offset))
        except OSError:
            continue
        return port


@pytest.fixture
def phones(baresip: str, tmp_path: Path) -> Iterator[object]:
    started: list[Baresip] = []

    async def start(user: str, account: str) -> Baresip:
        phone = Baresip(baresip, tmp_path / user, user, account)
        started.append(phone)
        return await phone.connect()

    try:
        yield start
    finally:
        for phone in started:
            phone.kill()


async def talk(caller: Baresip, callee: Baresip, uri: str) -> None:
    """Dials, is answered, holds, resumes, and hangs up; both ends see each step."""
    caller.command("dial", uri)
    await callee.event("CALL_ESTABLISHED")
    await caller.event("CALL_ESTABLISHED")
    for number, (command, direction) in enumerate((("hold", "a=sendonly"), ("resume", "a=sendrecv")), 2):
        offers = callee.words().count(direction)
        caller.command(command)
        await eventually(lambda: callee.words().count("\nACK ") == number, ANSWER_LIMIT_S)  # noqa: B023 (used here only)
        assert callee.words().count(direction) > offers
    caller.command("hangup")
    await callee.event("CALL_CLOSED")
    await caller.close()
    await callee.close()


async def test_a_phone_calls_a_destination(phones, edge):
    answering = await phones("fs", "<{uri}>;regint=0;answermode=auto")
    running = await edge([answering.uri], dispatcher={"first_response_ms": 3000})
    host = f"127.0.0.1:{running.port}"
    phone = await phones("alice", f'<sip:alice@{host}>;regint=300;outbound="sip:{host};lr"')
    await eventually(lambda: "[1 binding]" in phone.words(), ANSWER_LIMIT_S)
    shown = await asyncio.to_thread(running.admin, "ul_dump")
    assert phone.uri.split("@")[1] in json.dumps(shown)
    await talk(phone, answering, f"sip:fs@{host}")  # baresip answers for its own user only


async def test_a_destination_calls_a_registered_phone(phones, edge):
    calling = await phones("fs", "<{uri}>;regint=0")
    running = await edge([f"sip:127.0.0.1:{calling.port}"])
    host = f"127.0.0.1:{running.port}"
    phone = await phones("bob", f'<sip:bob@{host}>;regint=300;outbound="sip:{host};lr";answermode=auto')
    await eventually(lambda: "[1 binding]" in phone.words(), ANSWER_LIMIT_S)
    await eventually(running.replicated)
    await talk(calling, phone, f"sip:bob@{host}")
