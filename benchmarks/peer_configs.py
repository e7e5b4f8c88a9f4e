"""Configurations of the peers that do what Viaduct's default profile does, as little as they can.

Stateful, Record-Route, a dispatcher of the destinations given, failover, a registrar in memory, no authentication, no
log.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.generate import host_port

KAMAILIO = """#!KAMAILIO
debug=-3
log_stderror=yes
fork=yes
children={workers}
disable_tcp=yes
auto_aliases=no
dns=no
rev_dns=no
tos=0
listen=udp:{address}
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "siputils.so"
loadmodule "textops.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "dispatcher.so"
modparam("tm", "fr_timer", 30000)
modparam("tm", "fr_inv_timer", 120000)
modparam("rr", "append_fromtag", 0)
modparam("usrloc", "db_mode", 0)
modparam("usrloc", "hash_size", 16)
modparam("registrar", "max_contacts", 10)
modparam("dispatcher", "list_file", "{directory}/dispatcher.list")
modparam("dispatcher", "xavp_dst", "_dsdst_")

request_route {{
    if (!mf_process_maxfwd_header("70")) {{
        sl_send_reply("483", "Too Many Hops");
        exit;
    }}
    if (is_method("CANCEL")) {{
        if (t_check_trans()) t_relay();
        exit;
    }}
    if (has_totag()) {{
        if (loose_route()) t_relay();
        else if (is_method("ACK") && t_check_trans()) t_relay();
        else if (!is_method("ACK")) sl_send_reply("404", "Not Here");
        exit;
    }}
    t_check_trans();
    if (is_method("OPTIONS") && uri == myself) {{
        sl_send_reply("200", "OK");
        exit;
    }}
    if (is_method("REGISTER")) {{
        if (!save("location")) sl_reply_error();
        exit;
    }}
    if (is_method("INVITE")) record_route();
    if (!ds_select_dst("1", "4")) {{
        sl_send_reply("500", "No Destinations");
        exit;
    }}
    t_on_failure("NEXT");
    if (!t_relay()) sl_reply_error();
}}

failure_route[NEXT] {{
    if (t_is_canceled()) exit;
    if (t_check_status("408|50[0-9]") && ds_next_dst()) {{
        t_on_failure("NEXT");
        t_relay();
    }}
}}
"""

OPENSIPS = """log_level=-1
{errors}
udp_workers={workers}
auto_aliases=no
socket=udp:{address}
mpath="{modules}"
loadmodule "proto_udp.so"
loadmodule "db_text.so"
loadmodule "signaling.so"
loadmodule "sl.so"
loadmodule "tm.so"
loadmodule "rr.so"
loadmodule "maxfwd.so"
loadmodule "sipmsgops.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "dispatcher.so"
modparam("rr", "append_fromtag", 0)
modparam("usrloc", "working_mode_preset", "single-instance-no-db")
modparam("dispatcher", "db_url", "text://{directory}")

route {{
    if (!mf_process_maxfwd_header(70)) {{
        send_reply(483, "Too Many Hops");
        exit;
    }}
    if (is_method("CANCEL")) {{
        if (t_check_trans()) t_relay();
        exit;
    }}
    if (has_totag()) {{
        if (loose_route()) t_relay();
        else if (is_method("ACK") && t_check_trans()) t_relay();
        else if (!is_method("ACK")) send_reply(404, "Not Here");
        exit;
    }}
    t_check_trans();
    if (is_method("OPTIONS") && is_myself("$rd")) {{
        send_reply(200, "OK");
        exit;
    }}
    if (is_method("REGISTER")) {{
        if (!save("location")) sl_reply_error();
        exit;
    }}
    if (is_method("INVITE")) record_route();
    if (!ds_select_dst(1, 4)) {{
        send_reply(500, "No Destinations");
        exit;
    }}
    t_on_failure("next");
    if (!t_relay()) sl_reply_error();
}}

failure_route[next] {{
    if (t_was_cancelled()) exit;
    if (t_check_status("408|50[0-9]") && ds_next_dst()) {{
        t_on_failure("next");
        t_relay();
    }}
}}
"""

DB_TEXT_VERSION = 9  # of OpenSIPS's dispatcher table since 3.2
DB_TEXT_COLUMNS = (
    "id(int,auto) setid(int) destination(string) socket(string,null) state(int) probe_mode(int) weight(string)"
    " priority(int) attrs(string,null) description(string,null)"
)


def write_kamailio(directory: Path, address: tuple[str, int], workers: int, destinations: Sequence[str]) -> Path:
    """kamailio.cfg and dispatcher.list in `directory`; the path of the former."""
    (directory / "dispatcher.list").write_text("".join(f"1 {uri}\n" for uri in destinations))
    path = directory / "kamailio.cfg"
    path.write_text(KAMAILIO.format(workers=workers, address=host_port(*address), directory=directory))
    return path


def write_opensips(
    directory: Path,
    address: tuple[str, int],
    workers: int,
    destinations: Sequence[str],
    *,
    modules: str,
    version: tuple[int, ...],
) -> Path:
    """opensips.cfg and the text tables of its dispatcher in `directory`; the path of the former."""
    rows = [
        ":".join((str(number), "1", uri.replace(":", "\\:"), "", "0", "0", "1", "0", "", ""))
        for number, uri in enumerate(destinations, 1)
    ]
    (directory / "version").write_text(f"table_name(string) table_version(int)\ndispatcher:{DB_TEXT_VERSION}\n")
    (directory / "dispatcher").write_text("\n".join((DB_TEXT_COLUMNS, *rows)) + "\n")
    errors = "stderror_enabled=yes\nsyslog_enabled=no" if version >= (3, 4) else "log_stderror=yes"
    path = directory / "opensips.cfg"
    path.write_text(
        OPENSIPS.format(
            workers=workers, address=host_port(*address), directory=directory, modules=modules, errors=errors
        )
    )
    return path
