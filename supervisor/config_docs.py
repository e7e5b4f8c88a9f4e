"""The schema for people: conf/viaduct.toml and docs/configuration.md, both held equal to this by a test."""

import textwrap

from supervisor.config import show_whole
from supervisor.config_schema import KEYS, PER_SET, REQUIRED, SECTIONS, Key, keys_of
from supervisor.config_values import describe

COMMENT_WIDTH = 110
UNBREAKABLE = "\u00a0"

TOML_HEAD = """\
# viaduct.toml: every key of Viaduct with its default. A line that begins with "#" and a key is the default; to change
# it, take the "#" away. `viaduct check -c FILE` explains every mistake with its line. HUP (or `systemctl reload`)
# takes changes over while calls run, except those marked "at start".
"""

AUTH_COMMENT = """\
# WHO MAY REGISTER. This key has no default: you must decide.
#   "none"    ANYONE who reaches the port may register ANY address and receive its calls.
#             Only for trusted networks and trials.
#   "digest"  users prove a password. Not available in this version yet."""

SETS_COMMENT = "One set may differ from [dispatcher]: {keys}."
SETS_EXAMPLE = """\
#[dispatcher.sets.2]
#algorithm = "priority"
"""

MARKDOWN_HEAD = """\
# Configuration

<!-- Written by `python -m supervisor.config > docs/configuration.md`; do not edit. -->

Viaduct reads one TOML file: `viaduct run -c FILE`, else the file that `VIADUCT_CONFIG` names, else
`/etc/viaduct/viaduct.toml`. `viaduct check -c FILE` reports every mistake at once, each with file, line, what was found
and what was expected; an unknown key is a mistake, and the nearest known name is given. Only `registrar.auth` must be
set; everything else has a default, and `conf/viaduct.toml` shows them all. Relative paths are relative to the
directory of the file.

A reload (`kill -HUP` of the arbiter, or `systemctl reload viaduct`) checks the file first and leaves the running
configuration alone when it has a mistake. Keys marked *at start* take effect at the next start.
"""

MARKDOWN_SETS = """\
### `[dispatcher.sets.N]`

What differs in set `N` from `[dispatcher]`. A set may have its own {keys}.

```toml
[dispatcher.sets.2]
algorithm = "priority"
probe_codes = [200, 404]
```
"""


def toml() -> str:
    """conf/viaduct.toml."""
    parts = [TOML_HEAD]
    for section, what in SECTIONS.items():
        parts.append(f"\n# {what}\n[{section}]\n")
        parts += [toml_key(key) for key in keys_of(section).values()]
        if section == "dispatcher":
            parts += ["\n", comment(SETS_COMMENT.format(keys=", ".join(PER_SET))), SETS_EXAMPLE]
    return "".join(parts)


def toml_key(key: Key) -> str:
    if key.default is REQUIRED:
        return f'\n{AUTH_COMMENT}\n{key.name} = "none"\n\n'
    notes = [text for text in (allowed(key), f"at{UNBREAKABLE}start" if key.restart else "") if text]
    text = key.why + (f" ({'; '.join(notes)})" if notes else "")
    return comment(text) + f"#{key.name} = {show_whole(key.default)}\n"


def comment(text: str) -> str:
    return (
        textwrap.fill(text, COMMENT_WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False).replace(
            UNBREAKABLE, " "
        )
        + "\n"
    )


def allowed(key: Key) -> str:
    """The words or the range, short, for behind the why."""
    if key.values:
        return ", ".join(f'"{word}"' for word in key.values)
    if key.kind in ("whole", "number", "workers"):
        low, high = (f"{bound:g}" if bound < 10**6 else str(bound) for bound in (key.low, key.high))
        return UNBREAKABLE.join((low, "to", high))
    return ""


def markdown() -> str:
    """docs/configuration.md."""
    parts = [MARKDOWN_HEAD]
    for section, what in SECTIONS.items():
        parts.append(f"\n## `[{section}]`\n\n{what}\n\n| key | default | may be | why |\n| --- | --- | --- | --- |\n")
        parts += [markdown_row(key) for key in keys_of(section).values()]
        if section == "dispatcher":
            parts.append("\n" + MARKDOWN_SETS.format(keys=", ".join(f"`{name}`" for name in PER_SET)))
    parts.append(f"\n{len(KEYS)} keys.\n")
    return "".join(parts)


def markdown_row(key: Key) -> str:
    default = "must be set" if key.default is REQUIRED else f"`{show_whole(key.default)}`"
    may = "<br>".join(f'`"{word}"` {meaning}' for word, meaning in key.values.items()) if key.values else describe(key)
    why = key.why + (" *At start.*" if key.restart else "")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in (f"`{key.name}`", default, may, why)) + " |\n"
