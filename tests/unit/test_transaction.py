"""sipcore.transaction: every arrow of the machines as the RFCs draw them, and nothing besides."""

import itertools

import pytest

from sipcore.transaction import ACTIONS, EVENTS, MACHINES, STATES, step

# Written from the figures, not from the module: machine, state, event -> state, what the text at the arrow says.
ARROWS = """
invite-client trying 1xx -> proceeding: pass retransmit-off timeout-off     RFC 3261 17.1.1.2: A and B stop
invite-client trying 2xx -> accepted: pass retransmit-off wait              RFC 6026 7.2: Timer M
invite-client trying failure -> completed: pass ack retransmit-off wait     RFC 3261 figure 5: Timer D
invite-client trying retransmit -> trying: replay retransmit-on             Timer A, reset to twice
invite-client trying timeout -> terminated: fail                            Timer B
invite-client trying transport -> terminated: fail                          17.1.4
invite-client proceeding 1xx -> proceeding: pass
invite-client proceeding 2xx -> accepted: pass wait
invite-client proceeding failure -> completed: pass ack wait
invite-client proceeding timeout -> terminated: fail                        16.8: Timer C after its CANCEL
invite-client accepted 2xx -> accepted: pass                                RFC 6026 figure 1
invite-client accepted waited -> terminated:                                Timer M
invite-client completed failure -> completed: ack                           the ACK again, nothing to the core
invite-client completed waited -> terminated:                               Timer D
client trying 1xx -> proceeding: pass                                       figure 6: Timers E and F go on
client trying 2xx -> completed: pass retransmit-off wait                    Timer K
client trying failure -> completed: pass retransmit-off wait
client trying retransmit -> trying: replay retransmit-on                    Timer E
client trying timeout -> terminated: fail                                   Timer F
client trying transport -> terminated: fail
client proceeding 1xx -> proceeding: pass
client proceeding 2xx -> completed: pass retransmit-off wait
client proceeding failure -> completed: pass retransmit-off wait
client proceeding retransmit -> proceeding: replay retransmit-on            Timer E at T2
client proceeding timeout -> terminated: fail
client proceeding transport -> terminated: fail
client completed waited -> terminated:                                      Timer K
invite-server proceeding request -> proceeding: replay                      figure 7: the last provisional again
invite-server proceeding 1xx -> proceeding: pass
invite-server proceeding 2xx -> accepted: pass wait                         RFC 6026 7.1: Timer L
invite-server proceeding failure -> completed: pass retransmit-on timeout-on  Timers G and H
invite-server accepted 2xx -> accepted: pass                                RFC 6026: 2xx again come from the callee
invite-server accepted ack -> accepted: pass                                RFC 6026: to the core
invite-server accepted waited -> terminated:                                Timer L
invite-server completed request -> completed: replay
invite-server completed retransmit -> completed: replay retransmit-on       Timer G
invite-server completed ack -> confirmed: retransmit-off wait               Timer I
invite-server completed timeout -> terminated: fail                         Timer H
invite-server confirmed waited -> terminated:                               Timer I
server trying 1xx -> proceeding: pass                                       figure 8
server trying 2xx -> completed: pass wait                                   Timer J
server trying failure -> completed: pass wait
server proceeding request -> proceeding: replay
server proceeding 1xx -> proceeding: pass
server proceeding 2xx -> completed: pass wait
server proceeding failure -> completed: pass wait
server completed request -> completed: replay
server completed waited -> terminated:                                      Timer J
"""


def arrows():
    """{(machine, state, event): (state, actions)}; behind two blanks stands the reason."""
    found = {}
    for line in ARROWS.strip().splitlines():
        before, after = line.split(" -> ")
        state, actions = after.split(":", 1)
        found[tuple(before.split())] = (state, set(actions.split("  ")[0].split()))
    return found


KNOWN = arrows()


def test_the_table_above_names_each_arrow_once_and_only_known_words():
    assert len(KNOWN) == len(ARROWS.strip().splitlines())
    for (machine, state, event), (after, actions) in KNOWN.items():
        assert machine in MACHINES
        assert {state, after} <= set(STATES)
        assert event in EVENTS
        assert actions <= set(ACTIONS)


@pytest.mark.parametrize("machine", MACHINES)
def test_every_pair_does_what_the_figure_says_and_any_other_leaves_the_state(machine):
    for state, event in itertools.product(STATES, EVENTS):
        after, actions = step(machine, state, event)
        assert (after, set(actions)) == KNOWN.get((machine, state, event), (state, set())), (state, event)


@pytest.mark.parametrize("machine", MACHINES)
def test_no_machine_leaves_its_end(machine):
    assert all(step(machine, "terminated", event) == ("terminated", ()) for event in EVENTS)


@pytest.mark.parametrize("machine", MACHINES)
def test_every_state_that_can_be_reached_leads_to_the_end(machine):
    reached = {"proceeding" if machine == "invite-server" else "trying"}
    while True:
        more = reached | {step(machine, state, event)[0] for state in reached for event in EVENTS}
        if more == reached:
            break
        reached = more
    for state in reached:
        seen = {state}
        for _ in STATES:
            seen |= {step(machine, one, event)[0] for one in seen for event in EVENTS}
        assert "terminated" in seen, state


@pytest.mark.parametrize("machine", ["invite-client", "client"])
def test_a_client_passes_one_final_failure_to_the_core(machine):
    state, actions = step(machine, "trying", "failure")
    assert "pass" in actions
    assert "pass" not in step(machine, state, "failure")[1]


def test_only_a_failure_to_an_invite_is_acknowledged_here():
    acknowledged = {key for key in itertools.product(MACHINES, STATES, EVENTS) if "ack" in step(*key)[1]}
    assert acknowledged == {("invite-client", state, "failure") for state in ("trying", "proceeding", "completed")}
