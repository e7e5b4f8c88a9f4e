"""The location table: one AOR's bindings in order, contacts compared, memory bounded, snapshots that rebuild it."""

import random

import pytest
from log_values import entries, lists

from sipcore import location, wire

FLOW = bytes(24)


def put(contact, *, call_id=b"c1", cseq=1, q=1000, expires_ms=600_000, updated_ms=0, instance=b"", path=b"", agent=b""):
    return [contact, call_id, cseq, q, expires_ms, FLOW, instance, path, agent, updated_ms]


def entry(aor, puts=(), removes=(), known_until_ms=1):
    return [wire.ENTRY_BINDINGS, 1, 0, 1, aor, list(puts), list(removes), known_until_ms]


def apply(table, *values):
    table.apply(entries(*values))


def contacts(table, aor):
    return [binding["contact"] for binding in table.find(aor)]


def test_unknown_offline_and_bound_are_three_answers():
    table = location.LocationTable()
    assert table.find(b"a@x") is None
    apply(table, entry(b"a@x", [put(b"sip:a@1")]))
    assert table.find(b"a@x") == [dict(zip(wire.PUT_FIELDS, put(b"sip:a@1"), strict=True))]
    apply(table, entry(b"a@x", removes=[b"sip:a@1"]))
    assert table.find(b"a@x") == []


def test_an_entry_without_changes_makes_no_record():
    table = location.LocationTable()
    apply(table, entry(b"a@x", removes=[b"sip:a@1"], known_until_ms=0))
    assert table.find(b"a@x") is None


def test_order_is_q_then_newest_then_contact_whatever_the_order_of_arrival():
    puts = [put(b"sip:b@1", q=500, updated_ms=9), put(b"sip:c@1", updated_ms=1), put(b"sip:d@1", updated_ms=2),
            put(b"sip:a@1", updated_ms=2)]
    for seed in range(6):
        table = location.LocationTable()
        shuffled = puts[:]
        random.Random(seed).shuffle(shuffled)
        apply(table, entry(b"a@x", shuffled))
        assert contacts(table, b"a@x") == [b"sip:a@1", b"sip:d@1", b"sip:c@1", b"sip:b@1"]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (b"sip:a@Example.com", b"SIP:a@example.COM", True),
        (b"sip:a@example.com:5060;ob", b"sip:a@EXAMPLE.com:5060;ob", True),
        (b"sip:A@example.com", b"sip:a@example.com", False),
        (b"sip:example.com", b"sip:EXAMPLE.com", True),
        (b"sip:a@h;x=A", b"sip:a@h;x=a", False),
        (b"sips:a@H", b"sips:a@h", True),
        (b"sips:a@h", b"sip:a@hh", False),
        (b"tel:+1A", b"tel:+1a", False),
        (b"sip:a;B@h", b"sip:a;b@h", False),
    ],
)
def test_contacts_compare_by_octets_but_for_scheme_and_host(one, other, same):
    table = location.LocationTable()
    apply(table, entry(b"a@x", [put(one, updated_ms=1), put(other, updated_ms=2)]))
    assert len(table.find(b"a@x")) == (1 if same else 2)
    assert (location.contact_key(one) == location.contact_key(other)) is same


def test_a_replaced_binding_takes_its_new_place_and_text():
    table = location.LocationTable()
    apply(table, entry(b"a@x", [put(b"sip:a@h", updated_ms=5), put(b"sip:b@h", updated_ms=6)]))
    apply(table, entry(b"a@x", [put(b"sip:a@H", updated_ms=7, call_id=b"c2", cseq=9, agent=b"phone")]))
    first = table.find(b"a@x")[0]
    assert (first["contact"], first["cseq"], first["agent"]) == (b"sip:a@H", 9, b"phone")
    assert table.counts()["bindings"] == 2


@pytest.mark.parametrize(
    "bad",
    [
        entry(b"", [put(b"sip:a@1")]),
        entry(b"a" * 257, [put(b"sip:a@1")]),
        entry(b"a@x", [put(b"")]),
        entry(b"a@x", [put(b"sip:" + b"a" * 509)]),
        entry(b"a@x", [put(b"sip:a@1", call_id=b"c" * 257)]),
        entry(b"a@x", [put(b"sip:a@1", path=b"p" * 4096)]),
        entry(b"a@x", [put("sip:a@1")]),
        entry(b"a@x", [put(b"sip:a@1", cseq=1 << 32)]),
        entry(b"a@x", [put(b"sip:a@1", expires_ms=1 << 63)]),
        entry(b"a@x", [[*put(b"sip:a@1")[:5], b"short", *put(b"sip:a@1")[6:]]]),
        entry(b"a@x", [put(b"sip:a@1")[:-1]]),
        entry("a@x"),
    ],
)
def test_what_breaks_a_limit_is_refused(bad):
    table = location.LocationTable()
    with pytest.raises((ValueError, TypeError, OverflowError)):
        apply(table, bad)
    assert table.counts()["bindings"] == 0


def test_the_limits_themselves_fit():
    table = location.LocationTable()
    full = put(b"sip:" + b"a" * 508, call_id=b"c" * 256, path=b"p" * (4096 - 512 - 256))
    apply(table, entry(b"a" * 256, [full]))
    assert table.bindings(b"a" * 256) == [full]


def test_many_records_grow_shrink_and_leave_nothing_behind():
    table = location.LocationTable()
    empty = table.memory()
    aors = [b"u%d@x" % n for n in range(5000)]
    for aor in aors:
        apply(table, entry(aor, [put(b"sip:" + aor)]))
    assert table.counts()["bindings"] == len(aors)
    for aor in aors[::2]:
        apply(table, entry(aor, removes=[b"sip:" + aor]))
    while table.counts()["aors"] > len(aors) // 2:
        assert table.expired(now_ms=10, limit=1000) == []
    assert all(table.find(aor) is None for aor in aors[::2])
    assert all(len(table.find(aor)) == 1 for aor in aors[1::2])
    for aor in aors[1::2]:
        apply(table, entry(aor, removes=[b"sip:" + aor]))
    while table.counts()["aors"]:
        table.expired(now_ms=10, limit=1000)
    assert table.memory() == table.counts()["slots"] * 8 >= empty


def test_removals_and_returns_do_not_fill_the_table_with_tombstones():
    table = location.LocationTable()
    for n in range(20_000):
        apply(table, entry(b"u%d@x" % n, known_until_ms=1))
        table.expired(now_ms=2, limit=2048)
    counts = table.counts()
    assert counts["slots"] <= 2048
    assert counts["aors"] + counts["tombstones"] <= counts["slots"] * 3 // 4


def test_the_sweep_is_bounded_and_goes_round():
    table = location.LocationTable()
    for n in range(300):
        apply(table, entry(b"u%d@x" % n, [put(b"sip:u@h", expires_ms=100 if n % 3 else 1000)], known_until_ms=5000))
    slots = table.counts()["slots"]
    assert len(table.expired(now_ms=500, limit=slots // 8)) < 100
    found = {aor for _ in range(8) for aor, _ in table.expired(now_ms=500, limit=slots // 8)}
    assert found == {b"u%d@x" % n for n in range(300) if n % 3}
    assert table.counts()["bindings"] == 300


def test_a_snapshot_rebuilds_an_equal_table_and_known_offline_aors():
    table = location.LocationTable()
    for n in range(500):
        apply(table, entry(b"u%d@x" % n, [put(b"sip:%d@h" % k, q=k, updated_ms=n) for k in range(n % 4)]))
    copy = location.LocationTable()
    parts = list(table.snapshot(64))
    assert max(map(len, parts)) <= 64
    for part in parts:
        apply(copy, *lists(part))
    assert copy.digest() == table.digest()
    assert copy.counts()["aors"] == 500
    assert all(copy.bindings(b"u%d@x" % n) == table.bindings(b"u%d@x" % n) for n in range(500))


def test_a_snapshot_of_a_table_that_changes_converges_with_the_changes():
    table = location.LocationTable()
    for n in range(400):
        apply(table, entry(b"u%d@x" % n, [put(b"sip:u@h", updated_ms=n)]))
    copy, later = location.LocationTable(), []
    for round_number, part in enumerate(table.snapshot(16)):
        apply(copy, *lists(part))
        for n in range(60):  # enough new AORs to lay the slots out anew while the walk goes on
            change = entry(b"new%d-%d@x" % (round_number % 30, n), [put(b"sip:n@h", cseq=round_number)])
            apply(table, change)
            later.append(change)
        gone = entry(b"u%d@x" % (round_number * 7 % 400), removes=[b"sip:u@h"])
        apply(table, gone)
        later.append(gone)
    for change in later:
        apply(copy, change)
    assert copy.digest() == table.digest()


def test_what_a_second_snapshot_does_not_name_goes_at_its_end():
    table = location.LocationTable()
    for n in range(10):
        apply(table, entry(b"u%d@x" % n, [put(b"sip:a@h"), put(b"sip:b@h")]))
    table.begin_snapshot()
    apply(table, entry(b"u1@x", [put(b"sip:a@h")]))
    assert len(table.find(b"u2@x")) == 2  # until the end the old bindings serve
    table.end_snapshot()
    assert contacts(table, b"u1@x") == [b"sip:a@h"]
    assert table.counts()["aors"] == table.counts()["bindings"] == 1


def test_the_digest_sees_every_field():
    def digest(aor=b"a@x", **fields):
        table = location.LocationTable()
        apply(table, entry(aor, [put(b"sip:a@h", **fields)]))
        return table.digest()

    digests = [digest(), digest(b"b@x"), digest(call_id=b"c2"), digest(cseq=2), digest(q=1), digest(expires_ms=1),
               digest(updated_ms=1), digest(instance=b"i"), digest(path=b"i"), digest(agent=b"i")]
    assert len(set(digests)) == len(digests)
    assert digest() == digests[0]


def test_a_binding_costs_at_most_400_octets():
    table = location.LocationTable()
    for n in range(10_000):
        contact = b"sip:user%06d@192.168.100.100:50600;transport=udp;ob" % n
        apply(table, entry(b"user%06d@example.com" % n, [
            put(contact, call_id=b"3848276298220188511@192.168.100.100", agent=b"Linphone/5.2.1 (belle-sip/5.3)",
                instance=b"<urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6>")]))
    assert table.memory() / 10_000 <= 400
