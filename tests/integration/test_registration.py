"""Registering (RFC 3261 10.3) through the running edge: two workers, one table."""

import asyncio

import pytest

from benchmarks.agents import contacts_of
from benchmarks.sip import address_uri, parameter, token
from benchmarks.transactions import eventually

SETTLED_S = 1.0  # all replicas follow within a millisecond on an idle machine
REPEATS = 8  # queries with fresh branches: enough that both workers are asked


@pytest.fixture
def registrar(edge):
    async def start(**sections):
        return await edge([], **sections)

    return start


async def shows(phone, *contacts):
    """Asks until exactly these contacts are shown: another worker may learn of a change a moment after the 200."""
    deadline = asyncio.get_running_loop().time() + SETTLED_S
    while (found := sorted(await phone.bindings())) != sorted(contacts):
        assert asyncio.get_running_loop().time() < deadline, found


async def test_a_new_binding_is_seen_by_every_worker(field, registrar):
    alice = await field.phone("alice", await registrar())
    response = await alice.register(300)
    assert response.status == 200
    assert 298 <= contacts_of(response)[alice.contact] <= 300
    assert response.first("to").count(";tag=") == 1
    await asyncio.sleep(0.1)
    for _ in range(REPEATS):
        assert 295 <= (await alice.bindings())[alice.contact] <= 300


async def test_refresh_keeps_one_binding(field, registrar):
    alice = await field.phone("alice", await registrar())
    await alice.register(120)
    assert contacts_of(await alice.register(900))[alice.contact] > 800
    await shows(alice, alice.contact)


async def test_the_remaining_time_counts_down(field, registrar):
    alice = await field.phone("alice", await registrar())
    await alice.register(100)
    await asyncio.sleep(1.2)
    assert 90 <= (await alice.bindings())[alice.contact] <= 99


async def test_remove_one_contact(field, registrar):
    alice = await field.phone("alice", await registrar())
    other = "sip:alice@127.0.0.1:9"
    await alice.register(600, (f"<{alice.contact}>", f"<{other}>"))
    response = await alice.register(None, (f"<{alice.contact}>;expires=0",))
    assert list(contacts_of(response)) == [other]
    await shows(alice, other)


async def test_star_removes_all(field, registrar):
    alice = await field.phone("alice", await registrar())
    await alice.register(600, (f"<{alice.contact}>", "<sip:alice@127.0.0.1:9>"))
    await shows(alice, alice.contact, "sip:alice@127.0.0.1:9")
    response = await alice.register(0, ("*",))
    assert response.status == 200
    assert response.all("contact") == []
    await shows(alice)


@pytest.mark.parametrize(
    ("expires", "contacts"),
    [(600, ("*",)), (None, ("*",)), (0, ("*", "<sip:alice@127.0.0.1:9>"))],
    ids=["star with time left", "star without Expires", "star beside another"],
)
async def test_a_star_that_means_nothing_is_refused(field, registrar, expires, contacts):
    alice = await field.phone("alice", await registrar())
    await alice.register()
    assert (await alice.register(expires, contacts)).status == 400
    await shows(alice, alice.contact)


async def test_several_contacts_with_their_q(field, registrar):
    alice = await field.phone("alice", await registrar())
    desk, mobile = "sip:alice@127.0.0.1:9;line=1", "sip:alice@127.0.0.1:10"
    response = await alice.register(None, (f"<{desk}>;q=0.7;expires=300", f"<{mobile}>;q=0.2;expires=200"))
    found = {address_uri(value): parameter(value, "q") for value in response.all("contact")}
    assert {uri: float(q) for uri, q in found.items()} == {desk: 0.7, mobile: 0.2}
    assert 298 <= contacts_of(response)[desk] <= 300
    assert 198 <= contacts_of(response)[mobile] <= 200


async def test_where_the_expiry_comes_from(field, registrar):
    alice = await field.phone("alice", await registrar())
    contact = f"<{alice.contact}>"
    parameter_wins = contacts_of(await alice.register(900, (f"{contact};expires=120",)))[alice.contact]
    header = contacts_of(await alice.register(900, (contact,)))[alice.contact]
    default = contacts_of(await alice.register(None, (contact,)))[alice.contact]
    capped = contacts_of(await alice.register(1_000_000, (contact,)))[alice.contact]
    for found, expected in ((parameter_wins, 120), (header, 900), (default, 600), (capped, 3600)):
        assert expected - 2 <= found <= expected


async def test_too_short_is_423_with_min_expires(field, registrar):
    alice = await field.phone("alice", await registrar())
    response = await alice.register(30)
    assert response.status == 423
    assert response.first("min-expires") == "60"
    await shows(alice)


async def test_an_older_request_of_the_same_call_is_refused(field, registrar):
    alice = await field.phone("alice", await registrar())
    await alice.register(600, cseq=10)
    assert (await alice.register(0, cseq=9)).status in (400, 500)  # RFC 3261 10.3 step 7: the request fails
    await shows(alice, alice.contact)
    assert (await alice.register(0, cseq=11)).status == 200
    await shows(alice)


async def test_another_call_id_updates_whatever_its_cseq(field, registrar):
    alice = await field.phone("alice", await registrar())
    await alice.register(600, cseq=100)
    response = await alice.register(200, cseq=1, call_id=token())
    assert contacts_of(response)[alice.contact] <= 200


async def test_a_retransmission_gets_the_same_answer(field, registrar):
    edge = await registrar()
    alice = await field.phone("alice", edge)
    request = alice.build(
        "REGISTER", alice.uri_of(""), (("Contact", f"<{alice.contact}>"), ("Expires", "600")), to=alice.aor
    )
    transaction = alice.send_out(request)
    assert (await transaction.final()).status == 200
    alice.send(request, edge.address)
    await eventually(lambda: alice.seen["200 again"] == 1)
    await shows(alice, alice.contact)


async def test_the_contact_limit_is_all_or_nothing(field, registrar):
    alice = await field.phone("alice", await registrar(registrar={"max_contacts": 3}))
    await alice.register(600, tuple(f"<sip:alice@127.0.0.1:{port}>" for port in (11, 12)))
    response = await alice.register(600, tuple(f"<sip:alice@127.0.0.1:{port}>" for port in (13, 14)))
    assert response.status == 503
    await shows(alice, *(f"sip:alice@127.0.0.1:{port}" for port in (11, 12)))


async def test_a_query_of_nobody_is_empty(field, registrar):
    alice = await field.phone("alice", await registrar())
    await shows(alice)


async def test_bindings_expire(field, registrar):
    settings = {"min_expires": 1, "default_expires": 60}
    alice = await field.phone("alice", await registrar(registrar=settings))
    await alice.register(1)
    await shows(alice, alice.contact)
    await asyncio.sleep(1.3)
    await shows(alice)


async def test_many_phones_at_once(field, registrar):
    edge = await registrar()
    phones = [await field.phone(f"user{number}", edge) for number in range(50)]
    responses = await asyncio.gather(*(phone.register() for phone in phones))
    assert {response.status for response in responses} == {200}
    for phone in phones:
        await shows(phone, phone.contact)
