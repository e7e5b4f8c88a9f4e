"""The admin API: JSON-RPC, the methods' shapes, and a server on a real Unix socket that bad clients cannot harm."""

import asyncio
import json
import os
import socket
import stat

import pytest
from fake_backend import FakeBackend
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.admin import server as admin_server
from supervisor.admin.jsonrpc import BATCH_MAX, Methods
from supervisor.admin.methods import standard
from supervisor.admin.server import AdminServer


def ask(body, backend=None):
    """The decoded answer to a body (bytes, or what is encoded)."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = asyncio.run(standard(backend or FakeBackend()).answer(raw))
    return None if answer is None else json.loads(answer)


def call(method, params=None, backend=None):
    request = {"jsonrpc": "2.0", "id": 1, "method": method}
    return ask(request if params is None else {**request, "params": params}, backend)


def result(method, params=None, backend=None):
    answer = call(method, params, backend)
    assert "error" not in answer, answer
    return answer["result"]


def error(method, params=None, backend=None):
    return call(method, params, backend)["error"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", -32700),
        (b"{", -32700),
        (b"\xff\xfe", -32700),
        (b"[" * 60000, -32700),
        (b'{"id": NaN}', -32700),
        (b"[]", -32600),
        (b"1", -32600),
        (b"{}", -32600),
        ({"jsonrpc": "1.0", "id": 1, "method": "ps"}, -32600),
        ({"jsonrpc": "2.0", "id": 1, "method": 5}, -32600),
        ({"jsonrpc": "2.0", "id": 1, "method": "ps", "params": "x"}, -32600),
        ({"jsonrpc": "2.0", "id": {}, "method": "ps"}, -32600),
        ([{"jsonrpc": "2.0", "id": 1, "method": "ps"}] * (BATCH_MAX + 1), -32600),
        ({"jsonrpc": "2.0", "id": 1, "method": "nothing"}, -32601),
        ({"jsonrpc": "2.0", "id": 1, "method": "ps", "params": [1]}, -32602),
    ],
)
def test_what_is_no_request_gets_the_standard_code(body, code):
    answer = ask(body)
    assert (answer["jsonrpc"], answer["error"]["code"]) == ("2.0", code)


def test_a_batch_is_answered_in_order_without_its_notifications():
    request = {"jsonrpc": "2.0", "method": "which"}
    answers = ask([{**request, "id": "a"}, request, 5, {**request, "method": "x", "id": None}])
    assert [(each["id"], each.get("error", {}).get("code")) for each in answers] == [
        ("a", None),
        (None, -32600),
        (None, -32601),
    ]
    assert ask([request, request]) is None


def test_a_notification_is_carried_out():
    backend = FakeBackend()
    assert ask({"jsonrpc": "2.0", "method": "ds_reload"}, backend) is None
    assert backend.asked == ["reload"]


@pytest.mark.parametrize(
    ("method", "params", "sentence"),
    [
        ("ds_set_state", ["a"], "missing group, address; it takes state, group, address, partition"),
        ("ds_set_state", ["a", "x", "sip:a"], "group is a whole number"),
        ("ds_set_state", ["a", -1, "sip:a"], "group is a whole number"),
        ("ds_set_state", ["a", True, "sip:a"], "group is a whole number"),
        ("ds_set_state", ["a", "9" * 5000, "sip:a"], "group is a whole number"),
        ("ds_set_state", {"state": [], "group": 1, "address": "sip:a"}, "state is a text"),
        ("ds_list", {"full": "maybe"}, "full is 0 or 1"),
        ("ds_list", {"fill": 1}, "unknown 'fill', it takes full, partition"),
        ("get_statistics", {"statistics": [1]}, "statistics is a list of texts"),
        ("ps", [1, 2], "2 given, it takes none"),
    ],
)
def test_wrong_params_are_explained(method, params, sentence):
    answer = error(method, params)
    assert answer["code"] == -32602
    assert answer["message"] == f"Invalid params of {method}: {sentence}"


def test_a_bug_in_a_method_is_an_internal_error_and_is_logged(caplog):
    backend = FakeBackend()
    backend.ready = None
    assert error("version", backend=backend)["code"] == -32603
    assert "a bug" in caplog.text


def test_numbers_of_numpy_are_numbers():
    numpy = pytest.importorskip("numpy")
    backend = FakeBackend()

    async def statistics():
        return {"calls": numpy.uint64(7)}

    backend.statistics = statistics
    assert result("get_statistics", backend=backend) == {"calls": 7}


def test_methods_can_be_registered():
    async def add(a: int, b: int = 2):
        return a + b

    methods = Methods()
    methods.register("add", add)
    request = b'{"jsonrpc":"2.0","id":1,"method":"add","params":["3"]}'
    assert json.loads(asyncio.run(methods.answer(request)))["result"] == 5


WORDS = st.sampled_from(["2.0", "ds_list", "ul_dump", "get_statistics", "which"])
LEAVES = WORDS | st.none() | st.booleans() | st.integers() | st.text(max_size=5)
KEYS = st.sampled_from(["jsonrpc", "method", "id", "params", "full", "aor", "offset"])
DOCUMENTS = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4))


@settings(max_examples=150, deadline=None)
@given(DOCUMENTS)
def test_any_json_gets_an_answer_that_is_json_rpc(document):
    answer = ask(document)
    for each in answer if isinstance(answer, list) else [answer] if answer is not None else []:
        assert each["jsonrpc"] == "2.0" and ("result" in each) != ("error" in each)
        if "error" in each:
            assert each["error"]["code"] != -32603


def test_ds_list_has_the_peers_shape():
    assert result("ds_list") == {
        "PARTITIONS": [
            {
                "name": "default",
                "SETS": [
                    {
                        "id": 1,
                        "Destinations": [
                            {"URI": "sip:10.0.0.11:5080", "state": "Active", "first_hit_counter": 12, "socket": "",
                             "attr": "weight=50", "script_attr": ""},
                            {"URI": "sip:10.0.0.12:5080", "state": "Inactive", "first_hit_counter": 0, "socket": "",
                             "attr": "", "script_attr": ""},
                        ],
                    },
                    {
                        "id": 2,
                        "Destinations": [
                            {"URI": "sip:[::1]:5090", "state": "Probing", "first_hit_counter": 0, "socket": "",
                             "attr": "", "script_attr": ""},
                        ],
                    },
                ],
            }
        ]
    }  # fmt: skip


def test_ds_list_full_adds_ours():
    first = result("ds_list", {"full": 1})["PARTITIONS"][0]["SETS"][0]["Destinations"][0]
    assert first | {"weight": 50, "priority": 0, "resolved_addresses": ["10.0.0.11:5080"], "status": "active"} == first
    assert first | {"calls": 3, "failures": 1, "latency_ms": 1.25} == first


def test_ds_reload_says_ok_or_what_changed():
    assert result("ds_reload") == "OK"
    assert result("ds_reload", {"full": "1"})["changed"] == 2
    broken = FakeBackend()
    broken.rows = []
    assert error("ds_reload", backend=broken)["message"].startswith("dispatcher.list:3:")
    assert error("ds_reload", {"partition": "other"})["code"] == 404


def test_ds_set_state_takes_the_peers_order():
    backend = FakeBackend()
    assert result("ds_set_state", ["I", "1", "sip:10.0.0.11:5080"], backend) == "OK"
    assert backend.asked == [(1, "sip:10.0.0.11:5080", "i")]
    assert error("ds_set_state", {"state": "a", "group": 9, "address": "sip:x"})["code"] == 404


def test_ul_dump_has_the_peers_shape_and_pages():
    dump = result("ul_dump", {"offset": 1, "limit": 1})
    (domain,) = dump["Domains"]
    (aor,) = domain["AORs"]
    assert (domain["name"], dump["Total"], aor["AOR"]) == ("location", 3, "1001@example.com")
    assert list(aor["Contacts"][0]) == [
        "Contact", "ContactID", "Expires", "Q", "Callid", "Cseq", "User-agent", "Received", "Path", "State", "Flags",
        "Cflags", "Socket", "Methods", "Attr", "SIP_instance",
    ]  # fmt: skip
    assert aor["Contacts"][0]["Q"] == "0.5"
    assert result("ul_dump", ["brief"])["Domains"][0]["AORs"][0] == {"AOR": "1000@example.com", "count": 1}
    assert error("ul_dump", {"limit": 10001})["code"] == 400
    assert error("ul_dump", {"limit": 0})["code"] == 400


def test_ul_show_contact():
    shown = result("ul_show_contact", ["location", "1000@example.com"])
    assert shown["Contacts"][0]["Contact"] == "sip:1000@192.168.1.7:5062"
    assert "binding" in result("ul_show_contact", {"aor": "1000@example.com", "full": 1})["Contacts"][0]
    assert error("ul_show_contact", ["location", "nobody"]) == {"code": 404, "message": "AOR not found: nobody"}
    assert error("ul_show_contact", ["subscriber", "x"])["code"] == 404
    assert error("ul_show_contact")["code"] == 400


def test_ul_rm_and_ul_rm_contact():
    backend = FakeBackend()
    assert result("ul_rm", ["location", "1000@example.com"], backend) == "OK"
    contact = "sip:1000@192.168.1.7:5062"
    assert result("ul_rm_contact", {"aor": "1000@example.com", "contact": contact, "full": 1}, backend) == {
        "removed": 1
    }
    assert backend.asked == [("1000@example.com", None), ("1000@example.com", contact)]
    assert error("ul_rm", {"aor": "x"})["code"] == 404
    assert error("ul_rm_contact", {"aor": "1000@example.com", "contact": "sip:x"})["code"] == 404
    assert error("ul_rm_contact", {"aor": "1000@example.com"})["code"] == 400


def test_processes_statistics_and_the_log():
    rows = result("ps")["Processes"]
    assert [(row["ID"], row["PID"], row["Type"]) for row in rows] == [(0, 11, "supervisor"), (1, 12, "worker 0")]
    assert result("get_statistics") == result("get_statistics", [["all"]])
    assert result("get_statistics", {"statistics": ["calls*"]}) == {"calls": 7, "calls_answered": 6}
    assert result("get_statistics", ["core:"]) == {"core:rcv_requests": 99}
    assert error("get_statistics", ["nothing"])["code"] == 404
    assert result("uptime")["Up time"] == "65 [sec]"
    assert result("version")["Server"] == "Viaduct 0.1.0"
    backend = FakeBackend()
    assert result("log_level", [4], backend) == {"log_level": "debug"} == result("log_level", None, backend)
    assert error("log_level", ["loud"])["code"] == 400


def test_which_lists_every_method_and_its_params():
    names = result("which")
    assert {"ds_list", "ds_reload", "ds_set_state", "ul_dump", "ul_show_contact", "ul_rm", "ul_rm_contact", "ps",
            "get_statistics", "uptime", "version", "log_level", "which"} == set(names)  # fmt: skip
    assert result("which", ["ds_set_state"]) == [["state", "group", "address", "partition"]]
    assert error("which", ["nothing"])["code"] == 404


def serve(test, tmp_path, backend=None, listen=""):
    """Runs test(server) beside a server on a Unix socket."""

    async def run():
        server = AdminServer(backend or FakeBackend(), str(tmp_path / "admin.sock"), listen)
        await server.start()
        try:
            await asyncio.wait_for(test(server), 5)
        finally:
            await server.stop()

    asyncio.run(run())


async def http(server, request, tcp=False):
    """(status, body) of one raw HTTP exchange."""
    opened = (
        asyncio.open_connection("127.0.0.1", server.port) if tcp else asyncio.open_unix_connection(server.socket_path)
    )
    reader, writer = await opened
    writer.write(request)
    answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]) if head else 0, body


def post(body, *headers):
    lines = ["POST /mi HTTP/1.1", "Host: localhost", "Connection: close", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def get(path, host="localhost"):
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()


PS = b'{"jsonrpc":"2.0","id":1,"method":"ps"}'


def test_the_server_answers_on_its_socket(tmp_path):
    async def test(server):
        status, body = await http(server, post(PS))
        assert status == 200 and json.loads(body)["result"]["Processes"][0]["PID"] == 11
        assert await http(server, post(PS.replace(b'"id":1,', b""))) == (204, b"")
        assert await http(server, get("/healthz")) == (200, b"ok\n")
        assert await http(server, get("/readyz")) == (200, b"ready\n")
        server.backend.ready = False
        assert await http(server, get("/readyz")) == (503, b"not ready\n")
        assert (await http(server, get("/mi")))[0] == 405
        assert (await http(server, get("/other")))[0] == 404
        assert stat.S_IMODE(os.stat(server.socket_path).st_mode) == 0o660

    serve(test, tmp_path)
    assert not (tmp_path / "admin.sock").exists()


def test_garbage_and_bodies_too_long_are_refused(tmp_path):
    async def test(server):
        assert (await http(server, b"\x16\x03\x01\x02\x00\x01\xfc\r\n\r\n"))[0] in (0, 400)
        assert (await http(server, b"INVITE sip:a SIP/2.0\r\nVia: x\r\n\r\n"))[0] in (0, 400)
        assert (await http(server, b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\n\r\n"))[0] in (0, 400)
        assert (await http(server, post(b" " * (admin_server.BODY_MAX + 1))))[0] == 413
        assert (await http(server, post(PS)))[0] == 200

    serve(test, tmp_path)


def test_a_body_that_never_comes_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(admin_server, "READ_TIMEOUT_S", 0.05)
    monkeypatch.setattr(admin_server, "LINGER_S", 0.05)

    async def test(server):
        assert (await http(server, post(PS).replace(b"Length: 3", b"Length: 93")))[0] == 408

    serve(test, tmp_path)


def test_clients_that_hang_do_not_lock_others_out(tmp_path, monkeypatch):
    monkeypatch.setattr(admin_server, "CONNECTIONS_MAX", 4)

    async def test(server):
        hanging = [await asyncio.open_unix_connection(server.socket_path) for _ in range(10)]
        for _, writer in hanging:
            writer.write(b"POST /mi HTTP/1.1\r\nHost: x\r\n")
        assert (await http(server, post(PS)))[0] == 200
        assert len(server.runner.server.connections) <= 4
        for _, writer in hanging:
            writer.close()

    serve(test, tmp_path)


def test_loopback_keeps_web_pages_out(tmp_path):
    async def test(server):
        json_type = "Content-Type: application/json"
        assert (await http(server, post(PS, json_type), tcp=True))[0] == 200
        assert (await http(server, post(PS), tcp=True))[0] == 415
        assert (await http(server, post(PS, json_type, "Origin: http://evil.example"), tcp=True))[0] == 403
        assert (await http(server, get("/healthz", "evil.example"), tcp=True))[0] == 403
        assert (await http(server, get("/healthz", f"127.0.0.1:{server.port}"), tcp=True))[0] == 200

    serve(test, tmp_path, listen="127.0.0.1:0")


def test_a_socket_left_by_a_dead_process_is_replaced(tmp_path):
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / "admin.sock"))
    left.close()

    async def test(server):
        assert (await http(server, post(PS)))[0] == 200

    serve(test, tmp_path)


def test_a_live_socket_or_a_file_is_left_alone(tmp_path):
    async def test(server):
        with pytest.raises(OSError, match=r"admin\.sock: another process serves there"):
            await AdminServer(FakeBackend(), server.socket_path).start()
        assert (await http(server, post(PS)))[0] == 200

    serve(test, tmp_path)
    (tmp_path / "admin.sock").write_text("precious")
    with pytest.raises(OSError, match="a file that is no socket"):
        serve(None, tmp_path)
    with pytest.raises(OSError, match="No such file or directory"):
        serve(None, tmp_path / "none")
    assert (tmp_path / "admin.sock").read_text() == "precious"
