"""dispatcher.list: the peers' lists load as they are, and every mistake is named by its line."""

import pathlib

import pytest

from sipcore.dispatcher import MAX_DESTINATIONS, MAX_URI, MAX_WEIGHT
from supervisor import dispatcher_list
from supervisor.dispatcher_list import ListError, parse, read, unusable

ROOT = pathlib.Path(__file__).parents[2]

TWO_SETS = """\
# setid(int) destination(sip uri) flags(int,opt) priority(int,opt) attributes(str,opt)

2 sip:192.0.2.7:5080;transport=tcp 0 10 class=4;prefix=448;strip=2
2 sip:192.0.2.7:5082;px=vx 0 5 duid=abc;socket=udp:192.0.2.125:5060;pipe=p10
1 sip:192.0.2.7:7070 0 0 duid=xyz;maxload=20
1 sip:192.0.2.7:7072 0 5
\t1   sip:192.0.2.7:7074   # the last one
"""
PRIORITY_50 = """\
# setid  destination                    flags  priority  attrs
1 sip:10.0.0.11:5080;transport=udp      0      50
1 sip:10.0.0.12:5080;transport=udp      0      50
"""


def only(text, settings=None):
    (entry,) = parse(text, settings).entries
    return entry


def test_every_column_is_read_and_attrs_are_kept_verbatim():
    entries = parse(TWO_SETS).entries
    assert [(e.line, e.set_id, e.host, e.port, e.transport, e.priority, e.attrs) for e in entries] == [
        (3, 2, "192.0.2.7", 5080, "tcp", 10, "class=4;prefix=448;strip=2"),
        (4, 2, "192.0.2.7", 5082, "udp", 5, "duid=abc;socket=udp:192.0.2.125:5060;pipe=p10"),
        (5, 1, "192.0.2.7", 7070, "udp", 0, "duid=xyz;maxload=20"),
        (6, 1, "192.0.2.7", 7072, "udp", 5, ""),
        (7, 1, "192.0.2.7", 7074, "udp", 0, ""),
    ]
    assert entries[1].uri == "sip:192.0.2.7:5082;px=vx"


def test_a_transport_that_cannot_be_used_yet_is_named_by_its_line():
    (problem,) = unusable(parse(TWO_SETS))
    assert str(problem) == (
        "dispatcher.list:3: sip:192.0.2.7:5080;transport=tcp wants TCP, which destinations cannot use yet; "
        "expected ;transport=udp or none"
    )
    assert unusable(parse("1 sips:a.example"))


def test_a_50_in_the_fourth_column_is_a_priority_and_the_warning_says_how_to_write_a_weight():
    parsed = parse(PRIORITY_50)
    assert [(e.priority, e.weight) for e in parsed.entries] == [(50, 1), (50, 1)]
    (warning,) = parsed.warnings
    assert warning.line == 2
    assert "50 is a priority" in warning.text
    assert "weight=50" in warning.text
    assert "1 sip:10.0.0.11:5080;transport=udp 0 0 weight=50" in warning.text
    assert "priority_is_weight = true" in warning.text


def test_priority_is_weight_takes_it_as_meant():
    parsed = parse(PRIORITY_50 + "1 sip:10.0.0.13\n", {"priority_is_weight": True})
    assert [e.weight for e in parsed.entries] == [50, 50, 1]
    assert parsed.warnings == []
    assert only("1 sip:a 0 50 weight=7", {"priority_is_weight": True}).weight == 7
    parsed = parse("1 sip:a 0 5\n2 sip:a 0 5", {"sets": {"2": {"priority_is_weight": True}}})
    assert [e.weight for e in parsed.entries] == [1, 5]


def test_where_the_priority_counts_nothing_is_warned():
    assert parse(PRIORITY_50, {"algorithm": "priority"}).warnings == []
    assert parse(PRIORITY_50, {"algorithm": "random", "sets": {"1": {"algorithm": "k:8"}}}).warnings == []
    assert parse(PRIORITY_50, {"algorithm": "priority", "sets": {"1": {"algorithm": "random"}}}).warnings


@pytest.mark.parametrize(
    ("attrs", "weight"),
    [("weight=0", 0), ("rweight=50", 50), ("duid=a; weight=65535", 65535), ("weight=3;rweight=9", 3), ("duid=a", 1)],
)
def test_weights(attrs, weight):
    assert only(f"1 sip:10.0.0.1 0 0 {attrs}").weight == weight


@pytest.mark.parametrize(
    ("uri", "host", "port", "numeric"),
    [
        ("sip:10.0.0.1", "10.0.0.1", 5060, True),
        ("SIP:fs@10.0.0.1:5080", "10.0.0.1", 5080, True),
        ("sip:[2001:db8::1]:5080", "2001:db8::1", 5080, True),
        ("sip:FS1.example.com", "fs1.example.com", 5060, False),
        ("sip:fs_1:65535;lr;x=y?h=v", "fs_1", 65535, False),
    ],
)
def test_destinations(uri, host, port, numeric):
    entry = only(f"1 {uri}")
    assert (entry.host, entry.port, entry.numeric, entry.uri) == (host, port, numeric, uri)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("1", "found '1' alone, expected: setid destination [flags [priority [attrs]]]"),
        ("one sip:a", "setid 'one': expected a number from 0 to 2147483647"),
        ("-1 sip:a", "setid '-1': expected a number"),
        ("2147483648 sip:a", "setid '2147483648': expected a number"),
        ("1 10.0.0.1:5060", "destination '10.0.0.1:5060': expected a SIP URI such as sip:10.0.0.11:5080"),
        ("1 tel:123", "expected a SIP URI"),
        ("1 sip:10.0.0.256", "'10.0.0.256' is neither an IP address nor a host name"),
        ("1 sip:[::g]", "expected a SIP URI"),
        ("1 sip:[1.2.3.4]", "'[1.2.3.4]' is neither an IP address nor a host name"),
        ("1 sip:a:0", "port 0, expected 1 to 65535"),
        ("1 sip:a:65536", "port 65536, expected 1 to 65535"),
        ("1 sip:a;transport=upd", "transport 'upd', expected one of udp, tcp"),
        ("1 sip:" + "a" * 252, "a destination of 256 octets, expected at most 255"),
        ("1 sip:a 64", "flags '64': expected 0 or a sum of 1 inactive, 2 trying, 4 disabled, 8 probing, "),
        ("1 sip:a weight=50", "flags 'weight=50': expected a number; attrs such as 'weight=50' are the fifth column"),
        ("1 sip:a 0 weight=50", "priority 'weight=50': expected a number; attrs such as"),
        ("1 sip:a 0 65536", "priority '65536': expected a number from 0 to 65535"),
        ("1 sip:a 0 0 weight=heavy", "weight= 'heavy': expected a number from 0 to 65535"),
        ("1 sip:a 0 0 rweight=65536", "rweight= '65536': expected a number from 0 to 65535"),
        ("1 sip:a 0 0 " + "x" * 4096, "4108 characters, expected at most 4096"),
    ],
)
def test_a_mistake_says_what_was_found_and_what_was_expected(line, says):
    with pytest.raises(ListError) as error:
        parse(f"# a comment\n{line}\n")
    (problem,) = error.value.problems
    assert problem.line == 2
    assert says in problem.text


def test_every_mistake_is_told_at_once_and_nothing_is_loaded():
    with pytest.raises(ListError) as error:
        parse("1 sip:a\nx sip:b\n1 sip:a 9 1\n1 sip:c 0 none\n")
    assert str(error.value).splitlines() == [
        "dispatcher.list:2: setid 'x': expected a number from 0 to 2147483647",
        "dispatcher.list:3: set 1 has sip:a already on line 1; expected each destination once "
        "(give it more calls by weight=)",
        "dispatcher.list:4: priority 'none': expected a number from 0 to 65535",
    ]


def test_a_file_of_another_kind_does_not_flood():
    with pytest.raises(ListError) as error:
        parse("hello\n" * 60)
    assert len(error.value.problems) == 60
    assert str(error.value).endswith("and 10 more")


def test_limits_are_those_of_the_table():
    limits = (dispatcher_list.DESTINATIONS_MAX, dispatcher_list.URI_MAX, dispatcher_list.WEIGHT_MAX)
    assert limits == (MAX_DESTINATIONS, MAX_URI, MAX_WEIGHT)


def test_limits_at_and_past():
    lines = [f"1 sip:10.0.{i // 256}.{i % 256}" for i in range(dispatcher_list.DESTINATIONS_MAX)]
    assert len(parse("\n".join(lines)).entries) == 1024
    with pytest.raises(ListError, match="1025 destinations, expected at most 1024"):
        parse("\n".join([*lines, "2 sip:10.0.0.1"]))
    assert parse(b"#" * 4096 + b"\n" + b" \n" * (dispatcher_list.FILE_MAX // 2 - 2049)).entries == []
    with pytest.raises(ListError, match="more than 1048576 octets"):
        parse(b"\n" * (dispatcher_list.FILE_MAX + 1))
    assert len(only("1 sip:" + "a" * 63 + "." + "b" * 63).uri) == 131


def test_octets_that_are_no_text_are_named_by_their_line():
    with pytest.raises(ListError, match="dispatcher.list:2: octet 0xff is not UTF-8"):
        parse(b"# a\n1 sip:\xff\n")


def test_line_ends_of_all_systems_and_a_byte_order_mark():
    parsed = parse(b"\xef\xbb\xbf1 sip:a\r\n1 sip:b\r1 sip:c\n")
    assert [(e.line, e.host) for e in parsed.entries] == [(1, "a"), (2, "b"), (3, "c")]


def test_flags():
    assert only("1 sip:a 63").flags == 63
    assert only("1 sip:a").flags == 0


def warnings(text, **settings):
    return [str(warning) for warning in parse(text, settings).warnings]


def test_doubts():
    assert warnings("1 sip:a 0 0 weight=5\n1 sip:b\n") == [
        "dispatcher.list:2: no weight where others in set 1 have one: it counts as 1"
    ]
    assert warnings("1 sip:a 0 0 weight=5;rweight=6\n") == [
        "dispatcher.list:1: weight and rweight differ: 5 (weight) counts"
    ]
    assert warnings("1 sip:a 0 0 maxload=2\n1 sip:b 0 0 maxload=3\n") == [
        "dispatcher.list:1: maxload= is kept and shown, but nothing acts upon it yet"
    ]
    assert warnings("1 sip:a 16") == ["dispatcher.list:1: flag 16: a is resolved at load all the same"]
    assert warnings("") == ["dispatcher.list: no destinations: calls have nowhere to go"]
    assert warnings("2 sip:a", set=1) == [
        "dispatcher.list: no destination in set 1, where calls go; the list has set 2"
    ]
    assert warnings("1 sip:a", set=1) == []


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(ListError, match="none.list: cannot be read: No such file or directory"):
        read(str(tmp_path / "none.list"))


def test_our_example_loads_without_a_doubt():
    text = (ROOT / "conf" / "dispatcher.list").read_text()
    assert parse(text, {"set": 1}).entries == []  # nobody's hosts are probed by a trial
    parsed = parse(text.replace("\n#1 ", "\n1 "), {"set": 1})
    assert {entry.host for entry in parsed.entries} == {"10.0.0.11", "10.0.0.12"}
    assert parsed.warnings == []
    assert unusable(parsed) == []
