"""sipcore/registration against its oracle: any operations, in batches, taken or dropped, come to the same."""

import random

import pytest

from sipcore.location import LocationTable
from supervisor.location import Registrations
from tests.unit.log_values import entries, lists, operations
from tests.unit.registration_oracle import evaluate

SETTINGS = {"registrar": {"max_contacts": 3, "remember_offline_s": 100}}
CONTACTS = [b"sip:a@Host", b"sip:a@hOST", b"SIP:a@host", b"sips:b@[::1]", b"sip:c@h;ob", b"sip:c@h;OB", b"sip:d@h"]
BAD_CONTACTS = [b"sip:" + b"e" * 509, b""]
INSTANCES = [b"", b"<urn:1>"]
BAD_INSTANCES = [b"i" * 257]
ROUNDS = 400


def operation(chance, op_id):
    contacts = [[chance.choice(CONTACTS if chance.random() < 0.98 else BAD_CONTACTS), chance.choice([0, 1, 60]),
                 chance.choice([0, 500, 1000]),
                 chance.choice(INSTANCES if chance.random() < 0.98 else BAD_INSTANCES), 0]
                for _ in range(chance.randrange(5))]
    return [op_id, chance.choice([b"u1@x", b"u2@x", b"u3@x"]), chance.choice([b"c1", b"c2"]), chance.randrange(6),
            chance.random() < 0.1, contacts, bytes([op_id % 256]) * 24, chance.choice([b"", b"<sip:p;lr>"]),
            chance.choice([b"", b"p" * 200])]


@pytest.mark.parametrize("seed", range(8))
def test_entries_and_refusals_are_the_oracles(seed):
    chance = random.Random(seed)
    registrations = Registrations(LocationTable(), SETTINGS)
    now_ms, sequence, op_id = 1_000_000, 1, 0
    for _ in range(ROUNDS):
        now_ms += chance.choice([0, 10, 900, 30_000])
        batch = [operation(chance, op_id + n) for n in range(chance.randrange(1, 6))]
        op_id += len(batch)
        encoded, refused = registrations.evaluate(operations(*batch), 5, now_ms, sequence)
        found, ahead, wanted_refusals = lists(encoded), {}, []
        wanted = []
        for op in batch:
            before = ahead.get(op[1])
            before = before if before is not None else registrations.table.bindings(op[1]) or []
            outcome = evaluate(op, before, 3, 100_000, now_ms)
            if len(outcome) == 2:
                wanted_refusals.append([op[0], *outcome])
                continue
            puts, removes, known_until_ms, after = outcome
            ahead[op[1]] = after
            wanted.append([1, sequence + len(wanted), 5, op[0], op[1], sorted(puts), sorted(removes), known_until_ms])
        assert refused == wanted_refusals
        assert [[*entry[:5], sorted(entry[5]), sorted(entry[6]), entry[7]] for entry in found] == wanted
        if chance.random() < 0.8:
            registrations.table.apply(entries(*found))
            sequence += len(found)
            for aor, after in ahead.items():
                assert sorted(registrations.table.bindings(aor) or []) == sorted(after)
        registrations.settle()
