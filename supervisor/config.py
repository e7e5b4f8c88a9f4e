"""The configuration: a TOML file checked against the schema as a whole, with every mistake named by its line.

Standard library only (and tomli before Python 3.11): the arbiter imports this. `python -m supervisor.config` prints
docs/configuration.md, `python -m supervisor.config toml` prints conf/viaduct.toml.
"""

import copy
import os
import re
import sys
from typing import Any, NamedTuple

from supervisor import config_values
from supervisor.config_lines import Path, Place, places
from supervisor.config_schema import (
    BY_PATH,
    ELSEWHERE,
    FILE_MAX,
    KEYS,
    PER_SET,
    REQUIRED,
    SECTIONS,
    SETS_MAX,
    Key,
    keys_of,
)
from supervisor.config_values import show

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULT_PATH = "/etc/viaduct/viaduct.toml"
PATH_VARIABLE = "VIADUCT_CONFIG"
SET_ID_MAX = 2**31 - 1  # ids travel as 32-bit numbers
TIMER_C_LEAST_MS = 180000  # RFC 3261 16.6 step 11: larger than 3 minutes
SUGGESTION_CUTOFF = 0.6

AUTH_NONE_WARNING = (
    'registrar.auth = "none": anyone who reaches the port may register any address and receive its calls; '
    "do this only where the network is trusted"
)

Settings = dict[str, dict[str, Any]]


class Mistake(NamedTuple):
    """One thing wrong: where, what was found, what was expected. `line` and `column` are 0 where none can be named."""

    file: str
    line: int
    column: int
    key: str
    found: str
    expected: str

    def __str__(self) -> str:
        place = self.file + (f":{self.line}" if self.line else "") + (f":{self.column}" if self.column else "")
        return f"{place}: {self.key + ': ' if self.key else ''}found {self.found}, expected {self.expected}"


class ConfigError(Exception):
    """The configuration cannot be used. str() is one line a mistake, in order of lines.

    `settings`: what was read, wrong values as they were found; None where the document could not be read.
    """

    def __init__(self, mistakes: list[Mistake], settings: Settings | None = None) -> None:
        self.settings = settings
        self.mistakes = sorted(mistakes, key=lambda mistake: (mistake.line == 0, mistake.line, mistake.column))
        super().__init__("\n".join(str(mistake) for mistake in self.mistakes))


class Config(NamedTuple):
    """A configuration without mistakes.

    `settings`: section -> key -> value, every default filled in; `given`: the paths of the keys that the file itself
    sets ("edge.run_dir"), the others are defaults.
    """

    settings: Settings
    path: str | None
    warnings: list[str]
    given: frozenset[str]


def load(path: str | os.PathLike[str] | None = None, text: str | None = None) -> Config:
    """The configuration in the file at `path`, or in `text` (then `path` only names it); neither: embedded().

    Relative paths inside are taken from the directory of `path`. Raises ConfigError with every mistake.
    """
    if path is None and text is None:
        return embedded()
    name = "configuration" if path is None else os.fspath(path)
    if text is None:
        text = read(name)
    text = text.replace("\r\n", "\n")
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([syntax_mistake(name, str(error))]) from None
    base = os.path.dirname(os.path.abspath(name)) if path is not None else os.getcwd()
    reading = Reading(name, base, places(text))
    reading.document(document)
    reading.cross_checks()
    if reading.mistakes:
        raise ConfigError(reading.mistakes, reading.settings)
    return Config(
        reading.settings, None if path is None else os.path.abspath(name), reading.warnings, frozenset(reading.given)
    )


def embedded() -> Config:
    """The defaults as a demonstration needs them: loopback, nothing kept, registering without a password."""
    settings = defaults(os.getcwd())
    settings["edge"]["listen"] = ["udp:127.0.0.1:5060"]
    settings["registrar"]["auth"] = "none"
    settings["store"]["url"] = "memory:"
    return Config(settings, None, [], frozenset({"edge.listen", "registrar.auth", "store.url"}))


def defaults(base: str) -> Settings:
    """Every key's default, relative paths taken from `base`; what the operator must set is None."""
    settings: Settings = {section: {} for section in SECTIONS}
    for key in KEYS:
        value = key.default if key.default is REQUIRED else config_values.check(key, key.default, base)[0]
        settings[key.section][key.name] = copy.copy(value)
    settings["dispatcher"]["sets"] = {}
    return settings


def reload_differences(old: Settings, new: Settings) -> list[str]:
    """Paths of the keys that differ and take effect only at the next start ("edge.listen")."""
    return [key.path for key in KEYS if key.restart and old[key.section][key.name] != new[key.section][key.name]]


def reloaded(running: Settings, fresh: Settings) -> Settings:
    """What holds after a reload: the fresh settings, but for the keys that take effect only at the next start."""
    merged = {section: dict(keys) for section, keys in fresh.items()}
    for key in KEYS:
        if key.restart:
            merged[key.section][key.name] = running[key.section][key.name]
    return merged


def default_path() -> str:
    """Where the configuration is when nobody says: $VIADUCT_CONFIG, or /etc/viaduct/viaduct.toml."""
    return os.environ.get(PATH_VARIABLE) or DEFAULT_PATH


def to_toml(settings: dict[str, dict[str, Any]]) -> str:
    """A file with these sections and keys; loads back to the same settings."""
    lines = []
    for section, keys in settings.items():
        lines.append(f"[{section}]")
        lines += [
            f"{name} = {show_whole(value)}" for name, value in keys.items() if name != "sets" and value is not None
        ]
        for set_id, overrides in keys.get("sets", {}).items():
            lines.append(f"[{section}.sets.{set_id}]")
            lines += [f"{name} = {show_whole(value)}" for name, value in overrides.items()]
        lines.append("")
    return "\n".join(lines)


def show_whole(value: Any) -> str:
    """A value in TOML, never shortened."""
    if isinstance(value, list):
        return "[" + ", ".join(show_whole(element) for element in value) + "]"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in escaped) + '"'
    return str(value).lower() if isinstance(value, bool) else str(value)


def read(name: str) -> str:
    """The text of a file, or ConfigError with one mistake."""
    readable = "a TOML file that can be read"
    try:
        with open(name, "rb") as file:
            octets = file.read(FILE_MAX + 1)
    except OSError as error:
        hint = " (name one with -c)" if isinstance(error, FileNotFoundError) else ""
        raise ConfigError([Mistake(name, 0, 0, "", error.strerror or str(error), readable + hint)]) from None
    if len(octets) > FILE_MAX:
        raise ConfigError([Mistake(name, 0, 0, "", f"more than {FILE_MAX} octets", "a configuration file")])
    try:
        return octets.decode()
    except UnicodeDecodeError as error:
        line = octets.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            [Mistake(name, line, 0, "", f"the octet 0x{octets[error.start]:02x}", "UTF-8 text")]
        ) from None


def syntax_mistake(name: str, message: str) -> Mistake:
    """What tomllib says, with its place where ours stand."""
    match = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)$", message)
    line, column = (int(match[1]), int(match[2])) if match and match[1] else (0, 0)
    what = message[: match.start()] if match else message
    if match and not match[1]:
        what += " at the end of the file"
    return Mistake(
        name,
        line,
        column,
        "",
        f"what is not TOML ({what[:1].lower()}{what[1:]})",
        'lines such as key = "value" under [section]',
    )


class Reading:
    """One document on its way to settings: collects the mistakes, the warnings and what was given."""

    def __init__(self, name: str, base: str, where: dict[Path, Place]) -> None:
        self.name = name
        self.base = base
        self.where = where
        self.settings = defaults(base)
        self.mistakes: list[Mistake] = []
        self.warnings: list[str] = []
        self.given: set[str] = set()

    def document(self, document: dict[str, Any]) -> None:
        for name, value in document.items():
            if name not in SECTIONS:
                self.unknown_section(name, value)
            elif not isinstance(value, dict):
                self.mistake((name,), show(value), f"a section, [{name}] with its keys below")
            else:
                self.section(name, value)
        for key in KEYS:
            if (
                key.default is REQUIRED
                and self.settings[key.section][key.name] is REQUIRED
                and key.path not in self.given
            ):
                self.mistake(self.nearest_place(key), "nothing", config_values.auth_choices(key), key.path)

    def section(self, section: str, table: dict[str, Any]) -> None:
        keys = keys_of(section)
        for name, value in table.items():
            if section == "dispatcher" and name == "sets":
                self.sets(value)
            elif name in keys:
                self.given.add(f"{section}.{name}")
                self.settings[section][name] = self.checked(keys[name], value, (section, name))
            else:
                self.unknown_key((section, name), list(keys))

    def sets(self, tables: Any) -> None:
        """[dispatcher.sets.N]: what differs in one set."""
        path = ("dispatcher", "sets")
        if not isinstance(tables, dict):
            self.mistake(path, show(tables), "tables such as [dispatcher.sets.2]")
            return
        if len(tables) > SETS_MAX:
            self.mistake(path, f"{len(tables)} sets", f"at most {SETS_MAX}")
            return
        for set_id, table in tables.items():
            here = (*path, set_id)
            if not (set_id.isascii() and set_id.isdigit() and int(set_id) <= SET_ID_MAX):
                self.mistake(
                    here, show(set_id), f"the number of a set from 0 to {SET_ID_MAX}, as in [dispatcher.sets.2]"
                )
            elif not isinstance(table, dict):
                self.mistake(
                    here, show(table), f'a table, [dispatcher.sets.{set_id}] with keys such as algorithm = "priority"'
                )
            else:
                self.one_set(here, str(int(set_id)), table)

    def one_set(self, here: Path, set_id: str, table: dict[str, Any]) -> None:
        overrides = self.settings["dispatcher"]["sets"].setdefault(set_id, {})
        for name, value in table.items():
            if name in PER_SET:
                overrides[name] = self.checked(PER_SET[name], value, (*here, name))
            elif f"dispatcher.{name}" in BY_PATH:
                have = ", ".join(PER_SET)
                self.mistake(
                    (*here, name),
                    f"{name} for one set",
                    f"it in [dispatcher], where it holds for all; a set may have {have}",
                )
            else:
                self.unknown_key((*here, name), list(PER_SET))

    def checked(self, key: Key, value: Any, path: Path) -> Any:
        value_now, bad = config_values.check(key, value, self.base)
        for expected, index in bad:
            here = path if index is None else (*path, index)
            found = value if index is None else value[index]
            shown = show(found)
            if isinstance(found, (str, bool)) and key.kind in ("whole", "number", "switch", "codes"):
                shown += f" ({config_values.kind_of(found)})"
            self.mistake(here, shown, expected, dotted(path))
        return value_now

    def unknown_section(self, name: str, value: Any) -> None:
        homes = [key.path for key in KEYS if key.name == name]
        if isinstance(value, dict):
            near = nearest(name, list(SECTIONS))
            expected = f"[{near}]" if near else "one of " + ", ".join(f"[{section}]" for section in SECTIONS)
            self.mistake((name,), f"the unknown section [{name}]", expected)
        elif homes or name in ELSEWHERE:
            self.mistake((name,), "a key outside its section", self.home(homes, name))
        else:
            near = nearest(name, [key.name for key in KEYS])
            homes = [key.path for key in KEYS if key.name == near]
            self.mistake(
                (name,),
                "an unknown key outside any section",
                self.home(homes, name) if homes else "keys under [section]",
            )

    def unknown_key(self, path: Path, known: list[str]) -> None:
        name = str(path[-1])
        homes = [key.path for key in KEYS if key.name == name]
        near = nearest(name, known)
        if homes or name in ELSEWHERE:
            expected = self.home(homes, name)
        elif near:
            expected = near
        else:
            expected = "one of " + ", ".join(known)
        self.mistake(path, "an unknown key", expected)

    def home(self, homes: list[str], name: str) -> str:
        section, _, key = (homes[0] if homes else ELSEWHERE[name]).partition(".")
        return f"{key} in [{section}]"

    def nearest_place(self, key: Key) -> Path:
        """The section's header stands for a key that is missing."""
        return (key.section,) if (key.section,) in self.where else ()

    def mistake(self, path: Path, found: str, expected: str, key: str | None = None) -> None:
        line, column = self.place(path)
        self.mistakes.append(Mistake(self.name, line, column, dotted(path) if key is None else key, found, expected))

    def place(self, path: Path) -> Place:
        """Its own place, or that of the nearest thing around it."""
        while path and path not in self.where:
            path = path[:-1]
        return self.where.get(path, (0, 0))

    def cross_checks(self) -> None:
        """What two keys say together."""
        registrar, timers, dispatcher = self.settings["registrar"], self.settings["timers"], self.settings["dispatcher"]
        self.in_order("registrar", ("min_expires", "default_expires", "max_expires"), registrar)
        self.in_order("timers", ("t1_ms", "t2_ms"), timers)
        self.in_order("dispatcher", ("first_response_ms", "max_time_ms"), dispatcher)
        if self.mistakes:
            return  # the values below may be of any type
        if timers["timer_c_ms"] < TIMER_C_LEAST_MS:
            self.warn(
                "timers.timer_c_ms",
                f"{timers['timer_c_ms']} is less than the 3 minutes of RFC 3261: long ringing calls are cancelled",
            )
        if dispatcher["probe"] and dispatcher["probe_timeout_ms"] > dispatcher["probe_interval_s"] * 1000:
            self.warn(
                "dispatcher.probe_timeout_ms",
                "longer than probe_interval_s: a probe is still waited for when the next one goes out",
            )

    def in_order(self, section: str, names: tuple[str, ...], values: dict[str, Any]) -> None:
        wrong = {mistake.key for mistake in self.mistakes}
        for less, more in zip(names, names[1:], strict=False):
            if wrong.isdisjoint((f"{section}.{less}", f"{section}.{more}")) and values[less] > values[more]:
                # Blame the one that the file sets; the other may be a default that has no line.
                blamed, other, word = (
                    (more, less, "at least") if f"{section}.{more}" in self.given else (less, more, "at most")
                )
                self.mistake((section, blamed), str(values[blamed]), f"{word} {other}, which is {values[other]}")

    def warn(self, key: str, text: str) -> None:
        line, _ = self.place(tuple(key.split(".")))
        self.warnings.append(f"{self.name}{f':{line}' if line else ''}: {key}: {text}")


def nearest(name: str, known: list[str]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415  only where something is wrong

    return next(iter(get_close_matches(name, known, 1, SUGGESTION_CUTOFF)), "")


def dotted(path: Path) -> str:
    """The path of a key as people write it; an element's index counts from 1."""
    return ".".join(f"element {part + 1}" if isinstance(part, int) else part for part in path)


if __name__ == "__main__":
    from supervisor import config_docs

    sys.stdout.write(config_docs.toml() if sys.argv[1:] == ["toml"] else config_docs.markdown())
