"""What the integration tests share: agents on one loop, the edge as a process, and tools that may be missing."""

from __future__ import annotations

import asyncio
import inspect
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.agents import Agent, Destination
from benchmarks.edge import EdgeProcess

TEST_LIMIT_S = 30  # a test that hangs fails rather than holding up the rest


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Runs `async def` tests, each in a loop of its own, and closes the field's agents in that loop."""
    if not inspect.iscoroutinefunction(pyfuncitem.function):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}

    async def body() -> None:
        try:
            await asyncio.wait_for(pyfuncitem.function(**arguments), TEST_LIMIT_S)
        finally:
            for value in arguments.values():
                if isinstance(value, Field):
                    await value.close()

    asyncio.run(body())
    return True


class Field:
    """The agents of one test; after it none may have a complaint."""

    def __init__(self) -> None:
        self.agents: list[Agent] = []

    async def phone(self, name: str, edge: EdgeProcess | None, **more: object) -> Agent:
        """A phone whose outbound proxy is the edge."""
        where = {key: more.pop(key) for key in ("host", "port", "advertised") if key in more}
        agent = Agent(name, edge.address if edge else None, **more)  # type: ignore[arg-type]
        await agent.open(**where)  # type: ignore[arg-type]
        self.agents.append(agent)
        return agent

    async def destination(self, name: str = "fs", **more: object) -> Destination:
        """A destination; the `edge` fixture tells it where the edge is."""
        where = {key: more.pop(key) for key in ("host", "port") if key in more}
        agent = Destination(name, **more)  # type: ignore[arg-type]
        await agent.open(**where)  # type: ignore[arg-type]
        self.agents.append(agent)
        return agent

    async def close(self) -> None:
        for agent in self.agents:
            agent.close()
        await asyncio.sleep(0)  # the transports close on the loop's next turn

    def complaints(self) -> list[str]:
        return [complaint for agent in self.agents for complaint in agent.complaints]


@pytest.fixture
def field() -> Iterator[Field]:
    agents = Field()
    yield agents
    assert agents.complaints() == []


class EdgeFactory:
    """Starts edges for one test; afterwards each must end by TERM with exit code 0 and leave no process behind."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.edges: list[EdgeProcess] = []

    async def __call__(self, destinations: list | None = None, **sections: dict) -> EdgeProcess:
        """An edge with two workers on a free port; destinations in set 1; keyword sections override the config."""
        place = self.directory / f"edge{len(self.edges)}"
        place.mkdir()
        edge = EdgeProcess(place, sections)
        edge.write_list(destinations or [])
        self.edges.append(edge)
        await asyncio.to_thread(edge.start)
        for destination in destinations or []:
            if isinstance(destination, Destination):
                destination.edge = edge.address
        return edge

    def finish(self) -> None:
        problems = [problem for edge in self.edges for problem in edge.stop()]
        assert not problems, "\n".join(problems)


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[EdgeFactory]:
    factory = EdgeFactory(tmp_path)
    try:
        yield factory
    finally:
        factory.finish()


def need(tool: str, package: str) -> str:
    """The tool's path; skips with the reason where it is missing, and fails where CI=true."""
    path = shutil.which(tool)
    if path is None:
        reason = f"{tool} is not installed: apt-get install {package}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


@pytest.fixture
def sipp() -> str:
    return need("sipp", "sip-tester")


@pytest.fixture
def baresip() -> str:
    return need("baresip", "baresip-core")
