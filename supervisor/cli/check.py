"""What `viaduct check` finds: the configuration's mistakes, then those of the list of destinations."""

from typing import Any

from supervisor import config, dispatcher_list


def checked(path: str | None) -> dict[str, Any]:
    """{"path", "ok", "mistakes": sentences with file and line, "warnings": likewise, "destinations": how many}."""
    found: dict[str, Any] = {
        "path": path or config.default_path(),
        "ok": False,
        "mistakes": [],
        "warnings": [],
        "destinations": 0,
    }
    try:
        configuration = config.load(found["path"])
    except config.ConfigError as error:
        found["mistakes"] = [str(mistake) for mistake in error.mistakes]
        if error.settings is not None and not any(each.key.startswith("dispatcher") for each in error.mistakes):
            found["mistakes"] += read_list(error.settings["dispatcher"])[1]
        return found
    found["warnings"] += configuration.warnings
    dispatcher = configuration.settings["dispatcher"]
    if configuration.settings["registrar"]["auth"] == "none":
        found["warnings"].append(f"{found['path']}: {config.AUTH_NONE_WARNING}")
    parsed, found["mistakes"] = read_list(dispatcher)
    if parsed is None:
        return found
    found["warnings"] += [str(problem) for problem in parsed.warnings]
    found["destinations"] = len(parsed.entries)
    if parsed.entries and not any(entry.set_id == dispatcher["set"] for entry in parsed.entries):
        found["warnings"].append(
            f"{dispatcher['list']}: no destination in set {dispatcher['set']}, where calls go (dispatcher.set)"
        )
    found["ok"] = True
    return found


def read_list(dispatcher: dict[str, Any]) -> tuple[dispatcher_list.DispatcherList | None, list[str]]:
    """(the list that a [dispatcher] section names, None where it would be refused; why). Names are not resolved."""
    try:
        parsed = dispatcher_list.read(dispatcher["list"], dispatcher)
    except dispatcher_list.ListError as error:
        return None, [str(problem) for problem in error.problems]
    unusable = [str(problem) for problem in dispatcher_list.unusable(parsed)]
    return None if unusable else parsed, unusable
