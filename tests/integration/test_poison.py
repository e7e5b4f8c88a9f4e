"""A message that crashes a worker: twice, and then never again."""

import json
import socket
import time


def options(port, own_port, branch, mark):
    return (f"OPTIONS sip:127.0.0.1:{port} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP 127.0.0.1:{own_port};rport;branch=z9hG4bK{branch}\r\n"
            f"Max-Forwards: 70\r\nFrom: <sip:a@127.0.0.1>;tag=1\r\nTo: <sip:127.0.0.1:{port}>\r\nCall-ID: {branch}\r\n"
            f"CSeq: 1 OPTIONS\r\nX-Mark: {mark}\r\nContent-Length: 0\r\n\r\n").encode()


def answered(sock, edge, octets, within_s):
    sock.settimeout(within_s)
    sock.sendto(octets, edge.address)
    try:
        return sock.recv(65535).startswith(b"SIP/2.0 200")
    except TimeoutError:
        return False


def restarts(edge):
    status = json.loads((edge.run_dir / "arbiter.json").read_text())
    return sum(child["restarts"] for child in status["children"])


def until(condition, within_s=10.0):
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)  # between two looks at a file that another process writes


async def test_a_poison_message_kills_two_workers_and_no_third(edge, monkeypatch):
    monkeypatch.setenv("VIADUCT_CRASH_ON", "belladonna")
    running = await edge([])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        poison = options(running.port, sock.getsockname()[1], "poison", "belladonna")
        for death in (1, 2):
            sock.sendto(poison, running.address)
            until(lambda death=death: restarts(running) == death)
        kept, = (running.run_dir / "quarantine").iterdir()
        assert kept.read_bytes() == poison
        assert not answered(sock, running, poison, 1.0)
        for number in range(8):  # both workers
            assert answered(sock, running, options(running.port, sock.getsockname()[1], f"well{number}", "tea"), 5.0)
        assert restarts(running) == 2
