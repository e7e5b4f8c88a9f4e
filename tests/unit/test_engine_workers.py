"""workers.loop.Engine: messages that reach the wrong worker, the heir of one that died, and what transactions leave."""

import re
import socket
import struct

import pytest

from benchmarks.engine_bench import Bench, Message, answer, foreign_name
from sipcore import endpoint
from supervisor.sockets import Inbox

FAST = {"t1_ms": 10, "t2_ms": 40, "t4_ms": 20}
UNREACHABLE = 2       # workers/datagram.pxd: InboxKind
PAGE_OCTETS = 4096
WAITING = 6400        # transactions that are measured
WAITING_OCTETS = 512  # what each may cost: Transaction, Branch, two timers and two buckets


@pytest.fixture
def make():
    made = []

    def one(*arguments, **sections):
        made.append(Bench(*arguments, **sections))
        return made[-1]

    yield one
    for bench in made:
        bench.close()


def pair(make, **sections):
    """Two workers of one edge; the first has the destination."""
    first = make(1, workers=2, **sections)
    second = make(0, workers=2, index=1, groups=first.groups, inboxes=first.inboxes, page=first.page, **sections)
    second.dispatcher.replace(1, [first.destination_set])
    return first, second


class TestHandOver:
    def test_a_request_ends_up_with_its_owner_wherever_it_arrived(self, make):
        first, second = pair(make)
        phones = [first.agent() for _ in range(64)]
        for phone in phones:
            phone.send(phone.request(branch=foreign_name(2, 1) + b"%d" % phone.port))
            second.step()
            if first.count("inbox_out"):
                break
        assert first.count("inbox_out") == second.count("inbox_in") == 1
        assert first.count("calls") + second.count("calls") == phones.index(phone) + 1

    def test_the_answer_goes_to_where_the_datagram_came_from(self, make):
        bench = make(1)
        phone = bench.agent()
        invite = phone.request(rport=b";rport")
        bench.inboxes[0].sender.send(struct.pack("=I", 1) + phone.endpoint() + invite)
        bench.step()
        trying, = phone.expect(100)
        assert b";rport=%d;" % phone.port in trying.get("Via")
        bench.destinations[0].expect("INVITE")

    def test_a_response_names_its_owner(self, make):
        first, second = pair(make)
        destination = first.destinations[0]
        phone = first.agent()
        for n in range(64):
            phone.send(phone.request(branch=foreign_name(2, n % 2) + b"n%d" % n, call_id=b"c%d" % n))
            second.step()
            first.step()
            arrived, = destination.expect("INVITE")
            destination.send(answer(arrived, 200, tag=b"x%d" % n))
            second.step()
            first.step()
            phone.expect(100, 200)
        assert first.count("calls_answered") + second.count("calls_answered") == 64
        assert first.count("stray_responses") + second.count("stray_responses") == 0

    def test_an_unreachable_that_another_worker_saw_fails_over(self, make):
        bench = make(2)
        phone = bench.agent()
        phone.send(phone.request())
        sent, = bench.destinations[0].expect("INVITE")
        target = endpoint.pack("udp", "127.0.0.1", bench.destinations[0].port, 0)
        bench.inboxes[0].sender.send(struct.pack("=I", UNREACHABLE) + target + sent.octets[:200])
        bench.step()
        bench.destinations[1].expect("INVITE")
        assert bench.count("unreachable") == 1

    def test_a_torn_inbox_message_is_passed_over(self, make):
        bench = make(1)
        phone = bench.agent()
        bench.inboxes[0].sender.send(b"torn")
        bench.inboxes[0].sender.send(struct.pack("=I", 1) + phone.endpoint() + phone.request())
        bench.step()
        phone.expect(100)
        assert bench.count("inbox_in") == 1

    def test_a_full_inbox_loses_and_counts(self, make):
        receiver, sender = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        full, own = Inbox(receiver, sender), socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        own[0].setblocking(False)
        bench = make(1, workers=2, inboxes=[Inbox(*own), full])
        phone = bench.agent()
        for n in range(2000):
            bench.agents[-1].send(phone.request(branch=foreign_name(2, 1) + b"%d" % n))
            if bench.count("inbox_dropped"):
                break
            if bench.count("inbox_out") == 0:
                bench.agent()  # that one's datagrams reach the other socket
        assert bench.count("inbox_dropped") == 1
        assert bench.count("inbox_out") > 0


class TestTheHeir:
    def orphan(self, make, *, known=True, destinations=1):
        """(the heir, the phone, the INVITE as it arrived at the last destination) of a worker that died in between."""
        dead = make(destinations)
        phone = dead.agent()
        phone.send(phone.request())
        phone.expect(100)
        arrived, = dead.destinations[0].expect("INVITE")
        if destinations == 2:
            dead.destinations[0].send(answer(arrived, 503))
            arrived, = dead.destinations[1].expect("INVITE")
        heir = make(0, groups=dead.groups, inboxes=dead.inboxes, page=dead.page if known else None)
        for agent in dead.agents:
            agent.bench = heir
        return heir, phone, arrived, dead.destinations[-1]

    @pytest.mark.parametrize("destinations", [1, 2])
    @pytest.mark.parametrize("status", [180, 200, 486])
    def test_forwards_a_response_whose_branch_verifies(self, make, status, destinations):
        heir, phone, arrived, destination = self.orphan(make, destinations=destinations)
        response = answer(arrived, status)
        destination.send(response)
        assert phone.get().octets == response.replace(b"Via: %s\r\n" % arrived.all("Via")[0], b"")
        assert heir.count("heir_responses") == 1

    @pytest.mark.parametrize("comma", [b",", b", ", b" , ", b",\r\n "])
    def test_reads_vias_that_share_a_line(self, make, comma):
        _, phone, arrived, destination = self.orphan(make)
        first, second = arrived.all("Via")
        destination.send(answer(arrived, 200).replace(b"%s\r\nVia: %s" % (first, second), first + comma + second))
        assert phone.get().get("Via") == second

    @pytest.mark.parametrize("change", [
        lambda text: re.sub(rb"(VAA)[0-9a-f]{16}", rb"\g<1>00112233445566aa", text),
        lambda text: text.replace(b"branch=z9hG4bK-", b"branch=z9hG4bK-x"),
        lambda text: re.sub(rb"Call-ID: .*\r\n", b"Call-ID: other\r\n", text),
        lambda text: text.replace(b"CSeq: 1 INVITE", b"CSeq: 1 CANCEL"),
        lambda text: re.sub(rb"(?s)(Via: .*?\r\n)Via: .*?\r\n", rb"\1", text, count=1),
    ])
    def test_drops_any_other(self, make, change):
        heir, phone, arrived, destination = self.orphan(make)
        destination.send(change(answer(arrived, 200)))
        phone.quiet()
        assert heir.count("heir_responses") == 0
        assert heir.count("stray_responses") == 1

    def test_a_worker_that_replaced_nobody_drops_it(self, make):
        """RFC 6026 7.3."""
        heir, phone, arrived, destination = self.orphan(make, known=False)
        destination.send(answer(arrived, 200))
        phone.quiet()
        assert heir.count("stray_responses") == 1


class TestWhatTransactionsLeave:
    def test_nothing_once_their_timers_are_through(self, make):
        bench = make([{"first_response_ms": 100}] * 2, timers=FAST)
        phone = bench.agent()
        for status in (200, 486, 503, None):  # None: nobody answers
            phone.send(phone.request())
            phone.send(phone.request("MESSAGE"))
            while status and (octets := bench.wait(bench.destinations[0], 0.02)) is not None:
                if Message(octets).method != b"ACK":
                    bench.destinations[0].send(answer(Message(octets), status))
        assert bench.count("transactions_total") == 8
        assert bench.until(lambda: bench.count("transactions") == 0, within_s=5)

    def test_a_call_that_waits_out_its_timers_costs_little(self, make):
        """An answered call is kept for 64*T1: what it costs then decides how many calls a second fit the memory."""
        bench = make(1, edge={"max_transactions": 3 * WAITING})
        phone, destination = bench.agent(), bench.destinations[0]

        def calls(first, last):
            for n in range(first, last, 32):
                for call in range(n, n + 32):
                    phone.socket.sendto(phone.request(branch=b"z9hG4bK-m%d" % call, call_id=b"m%d" % call),
                                        ("127.0.0.1", bench.ports[0]))
                bench.step()
                for _ in range(32):
                    destination.socket.sendto(answer(Message(destination.socket.recv(65535)), 200),
                                              ("127.0.0.1", bench.ports[0]))
                bench.step()
                for _ in range(64):
                    phone.socket.recv(65535)

        calls(0, WAITING)  # the first round touches all that is not the transactions'
        before, settled = resident(), bench.count("transactions")
        calls(WAITING, 2 * WAITING)
        more = bench.count("transactions") - settled
        assert more >= WAITING
        assert (resident() - before) / more <= WAITING_OCTETS


def resident():
    """Octets of this process that are in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * PAGE_OCTETS
