"""The launch document: the same on both sides, exact about what a child inherits, tolerant of what it does not know."""

import json
import os
from dataclasses import asdict, fields, replace

import pytest

from supervisor import launch
from workers import launch as reading

DOCUMENT = launch.Launch(
    role="worker", index=1, workers=2, restarts=3, config_path="/etc/viaduct/viaduct.toml",
    settings={"edge": {"listen": ["udp:0.0.0.0:5060"], "advertise": ""}, "dispatcher": {"sets": {"2": {"set": 1}}}},
    listeners=(launch.Listener(7, "udp", "192.0.2.1", 5060, "sip.example.com:5060", "udp:0.0.0.0:5060"),
               launch.Listener(9, "udp", "2001:db8::1", 5060, None, "udp:[::]:5060")),
    inbox_fd=11, inbox_peers=(12, 13), page_fd=14, ready_fd=15, life_fd=16, control="ipc:///run/viaduct/control.sock",
    run_dir="/run/viaduct")


def in_memory(text: str) -> int:
    fd = os.memfd_create("document")
    os.write(fd, text.encode())
    return fd


def test_both_sides_have_the_same_shape():
    for shape in ("Launch", "Listener"):
        ours, theirs = fields(getattr(launch, shape)), fields(getattr(reading, shape))
        assert [(field.name, str(field.type)) for field in ours] == [
            (field.name, str(field.type).replace("workers.", "supervisor.")) for field in theirs]


def test_what_is_written_is_read_on_both_sides():
    assert launch.read(launch.write(DOCUMENT)) == DOCUMENT
    assert asdict(reading.read(launch.write(DOCUMENT))) == asdict(DOCUMENT)


def test_the_document_is_closed_at_exec_and_after_reading():
    fd = launch.write(DOCUMENT)
    assert not os.get_inheritable(fd)
    reading.read(fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_descriptors_are_those_named_and_no_others():
    assert DOCUMENT.descriptors() == [7, 9, 11, 12, 13, 14, 15, 16]
    bare = replace(DOCUMENT, role="supervisor", inbox_fd=launch.NO_FD,
                   listeners=tuple(replace(one, fd=launch.NO_FD) for one in DOCUMENT.listeners))
    assert bare.descriptors() == [12, 13, 14, 15, 16]


@pytest.mark.parametrize("module", [launch, reading])
def test_unknown_keys_are_passed_over(module):
    document = asdict(DOCUMENT)
    document["later"] = 1
    document["listeners"][0]["later"] = 2
    assert asdict(module.read(in_memory(json.dumps(document)))) == asdict(DOCUMENT)


@pytest.mark.parametrize("module", [launch, reading])
@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"role": "worker", "listeners": [], "inbox_peers": []}', "5"])
def test_what_is_no_document_is_refused_with_a_sentence(module, text):
    with pytest.raises(module.LaunchError, match="expected what the arbiter writes"):
        module.read(in_memory(text))


@pytest.mark.parametrize("module", [launch, reading])
def test_a_spare_reads_its_document_from_a_pipe_or_learns_that_there_is_none(module):
    read_end, write_end = os.pipe()
    os.write(write_end, launch.encode(DOCUMENT))
    os.close(write_end)
    assert asdict(module.read(read_end)) == asdict(DOCUMENT)
    read_end, write_end = os.pipe()
    os.close(write_end)
    assert module.read(read_end) is None


@pytest.mark.parametrize("module", [launch, reading])
def test_ready_is_one_octet_then_the_end(module):
    read_end, write_end = os.pipe()
    replace(module.read(launch.write(DOCUMENT)), ready_fd=write_end).ready()
    assert os.read(read_end, 10) == b"1"
    assert os.read(read_end, 10) == b""
    os.close(read_end)
