"""RFC 3261 10.3 steps 6 to 8: what a REGISTER does to the bindings of its AOR."""

import pytest
from log_values import entries, lists, operations

from sipcore import wire
from sipcore.location import LocationTable
from sipcore.registration import REFUSALS
from supervisor.location import Registrations

SETTINGS = {"registrar": {"max_contacts": 3, "remember_offline_s": 100}}
FLOW = bytes(range(24))
NOW = 1_000_000
OUT_OF_ORDER, TOO_MANY, TOO_LONG = REFUSALS.values()


@pytest.fixture
def registrations():
    return Registrations(LocationTable(), SETTINGS)


def op(*contacts, aor=b"a@x", call_id=b"call", cseq=1, star=False, path=b"", agent=b"phone"):
    """contacts: uri, or (uri, expires_s)"""
    pairs = [one if isinstance(one, tuple) else (one, 600) for one in contacts]
    return [7, aor, call_id, cseq, star, [[uri, expires, 1000, b"", 0] for uri, expires in pairs], FLOW, path, agent]


def evaluate(registrations, operation, now_ms=NOW):
    """The entry, as a list numbered 0, or (status, phrase) of the refusal."""
    encoded, refused = registrations.evaluate(operations(operation), 2, now_ms, 0)
    assert len(encoded) + len(refused) == 1
    if encoded:
        return lists(encoded)[0]
    assert refused[0][0] == operation[0]
    return tuple(refused[0][1:])


def apply(registrations, *values):
    registrations.table.apply(entries(*values))
    registrations.settle()


def register(registrations, *contacts, now_ms=NOW, **fields):
    """Evaluates and applies; the entry or the refusal."""
    outcome = evaluate(registrations, op(*contacts, **fields), now_ms)
    if isinstance(outcome, list):
        apply(registrations, outcome)
    return outcome


def bound(registrations, aor=b"a@x"):
    puts = registrations.table.bindings(aor)
    return puts if puts is None else sorted(put[0] for put in puts)


def test_a_new_binding_says_everything_in_absolute_times(registrations):
    assert register(registrations, b"sip:a@1", path=b"<sip:p;lr>") == [
        wire.ENTRY_BINDINGS, 0, 2, 7, b"a@x",
        [[b"sip:a@1", b"call", 1, 1000, NOW + 600_000, FLOW, b"", b"<sip:p;lr>", b"phone", NOW]], [],
        NOW + 600_000 + 100_000]


def test_a_refresh_replaces_whatever_the_case_of_the_host(registrations):
    register(registrations, b"sip:a@Host")
    register(registrations, b"sip:a@hOST", cseq=2, now_ms=NOW + 5)
    assert bound(registrations) == [b"sip:a@hOST"]


def test_contacts_come_and_go_together(registrations):
    register(registrations, b"sip:a@1", b"sip:a@2")
    entry = register(registrations, (b"sip:a@1", 0), b"sip:a@3", cseq=2)
    assert entry[6] == [b"sip:a@1"]
    assert bound(registrations) == [b"sip:a@2", b"sip:a@3"]


def test_star_removes_all_and_the_aor_stays_known(registrations):
    register(registrations, b"sip:a@1", b"sip:a@2")
    entry = register(registrations, cseq=2, star=True, now_ms=NOW + 10)
    assert (sorted(entry[6]), entry[7]) == ([b"sip:a@1", b"sip:a@2"], NOW + 10 + 100_000)
    assert bound(registrations) == []


@pytest.mark.parametrize("cseq", [1, 2])
def test_star_out_of_order_removes_nothing(registrations, cseq):
    register(registrations, b"sip:a@1", cseq=2)
    assert register(registrations, cseq=cseq, star=True) == OUT_OF_ORDER
    assert bound(registrations) == [b"sip:a@1"]


def test_an_older_cseq_of_the_same_call_is_refused_whole(registrations):
    register(registrations, b"sip:a@1", cseq=5)
    assert register(registrations, b"sip:a@2", b"sip:a@1", cseq=4) == OUT_OF_ORDER
    assert bound(registrations) == [b"sip:a@1"]


def test_another_call_id_may_bring_a_lower_cseq(registrations):
    register(registrations, b"sip:a@1", cseq=5)
    register(registrations, b"sip:a@1", cseq=1, call_id=b"after a restart")
    assert registrations.table.find(b"a@x")[0]["cseq"] == 1


def test_the_same_operation_again_is_acknowledged_and_changes_nothing(registrations):
    register(registrations, b"sip:a@1", cseq=5)
    before = registrations.table.bindings(b"a@x")
    entry = register(registrations, b"sip:a@1", cseq=5, now_ms=NOW + 500)
    assert entry[5:] == [[], [], 0]
    assert registrations.table.bindings(b"a@x") == before


def test_a_removal_at_the_cseq_that_bound_is_refused(registrations):
    register(registrations, b"sip:a@1", cseq=5)
    assert register(registrations, (b"sip:a@1", 0), cseq=5) == OUT_OF_ORDER


def test_removing_what_is_not_there_makes_no_aor(registrations):
    assert register(registrations, (b"sip:a@1", 0))[5:] == [[], [], 0]
    assert bound(registrations) is None


def test_the_contact_limit_and_one_past_it(registrations):
    register(registrations, b"sip:a@1", b"sip:a@2")
    assert register(registrations, b"sip:a@3", b"sip:a@4", cseq=2) == TOO_MANY
    assert bound(registrations) == [b"sip:a@1", b"sip:a@2"]
    register(registrations, b"sip:a@3", cseq=3)
    assert register(registrations, b"sip:a@4", (b"sip:a@1", 0), cseq=4)[0] == wire.ENTRY_BINDINGS
    assert bound(registrations) == [b"sip:a@2", b"sip:a@3", b"sip:a@4"]


def test_a_lowered_limit_lets_those_who_are_there_refresh(registrations):
    register(registrations, b"sip:a@1", b"sip:a@2", b"sip:a@3")
    registrations.configure({"registrar": {"max_contacts": 1, "remember_offline_s": 100}})
    assert register(registrations, b"sip:a@1", cseq=2)[0] == wire.ENTRY_BINDINGS
    assert register(registrations, b"sip:a@4", cseq=3) == TOO_MANY


def test_expired_bindings_count_for_nothing(registrations):
    register(registrations, b"sip:a@1", b"sip:a@2", b"sip:a@3", cseq=9)
    late = NOW + 600_000
    entry = register(registrations, b"sip:a@1", b"sip:a@4", cseq=1, now_ms=late)
    assert sorted(entry[6]) == [b"sip:a@2", b"sip:a@3"]
    assert bound(registrations) == [b"sip:a@1", b"sip:a@4"]


@pytest.mark.parametrize("bad", [
    op(b"sip:" + b"a" * 509), op(b""), op(b"sip:a@1", aor=b"a" * 257), op(b"sip:a@1", aor=b""),
    op(b"sip:a@1", call_id=b"c" * 257), op(b"sip:a@1", path=b"p" * 2049)])
def test_what_would_not_fit_the_table_is_refused(registrations, bad):
    assert evaluate(registrations, bad) == TOO_LONG


def test_the_longest_of_everything_fits(registrations):
    longest = op(b"sip:" + b"a" * 508, aor=b"a" * 256, call_id=b"c" * 256, path=b"p" * 2048, agent=b"a" * 5000)
    longest[5][0][3] = b"i" * 256
    apply(registrations, evaluate(registrations, longest))
    assert registrations.table.counts()["bindings"] == 1


def test_operations_of_one_batch_see_each_other_before_the_table_does(registrations):
    first = evaluate(registrations, op(b"sip:a@1", b"sip:a@2", cseq=1))
    assert evaluate(registrations, op(b"sip:a@1", cseq=0)) == OUT_OF_ORDER
    assert evaluate(registrations, op(b"sip:a@3", b"sip:a@4", call_id=b"other")) == TOO_MANY
    second = evaluate(registrations, op((b"sip:a@2", 0), cseq=2))
    assert second[6] == [b"sip:a@2"]
    assert bound(registrations) is None
    apply(registrations, first, second)
    assert bound(registrations) == [b"sip:a@1"]


def test_what_was_dropped_counts_no_more(registrations):
    register(registrations, b"sip:a@1", cseq=5)
    evaluate(registrations, op(b"sip:a@1", b"sip:a@2", cseq=6))
    registrations.settle()  # the store did not take it
    assert evaluate(registrations, op(b"sip:a@1", cseq=6))[5][0][2] == 6


def test_entries_are_numbered_and_refusals_take_no_number(registrations):
    asked = operations(op(b"sip:a@1", cseq=2), op(b"sip:a@1", cseq=1), op(b"sip:b@1", aor=b"b@x"))
    encoded, refused = registrations.evaluate(asked, 3, NOW, 70)
    assert [(entry[1], entry[2], entry[4]) for entry in lists(encoded)] == [(70, 3, b"a@x"), (71, 3, b"b@x")]
    assert refused == [[7, *OUT_OF_ORDER]]


def test_the_sweep_removes_what_expired_and_remembers_the_aor(registrations):
    register(registrations, b"sip:a@1", (b"sip:a@2", 900))
    late = NOW + 600_000
    assert registrations.sweep(late - 1, 4096) == []
    (entry,) = registrations.sweep(late, 4096)
    assert entry == [wire.ENTRY_BINDINGS, 0, wire.ORIGIN_SUPERVISOR, 0, b"a@x", [], [b"sip:a@1"], late + 100_000]


def test_the_operator_removes_one_or_all(registrations):
    register(registrations, b"sip:a@1", b"sip:a@2")
    assert registrations.remove(b"a@x", NOW, b"sip:nobody@1") is None
    assert registrations.remove(b"b@x", NOW) is None
    entry = registrations.remove(b"a@x", NOW, b"sip:a@1")
    assert (entry[5], entry[6]) == ([], [b"sip:a@1"])
    assert sorted(registrations.remove(b"a@x", NOW)[6]) == [b"sip:a@1", b"sip:a@2"]
