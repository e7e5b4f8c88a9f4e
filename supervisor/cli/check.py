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
            found["mistakes"] += list_mistakes(error.settings["dispatcher"])
        return found
    found["warnings"] += configuration.warnings
    dispatcher = configuration.settings["dispatcher"]
    if configuration.settings["registrar"]["auth"] == "none":
        found["warnings"].append(f"{found['path']}: {config.AUTH_NONE_WARNING}")
    try:
        parsed = dispatcher_list.read(dispatcher["list"], dispatcher)
    except dispatcher_list.ListError as error:
        found["mistakes"] = [str(problem) for problem in error.problems]
        return found
    found["warnings"] += [str(problem) for problem in parsed.warnings]
    found["destinations"] = len(parsed.entries)
    if parsed.entries and not any(entry.set_id == dispatcher["set"] for entry in parsed.entries):
        found["warnings"].append(
            f"{dispatcher['list']}: no destination in set {dispatcher['set']}, where calls go (dispatcher.set)"
        )
    found["ok"] = True
    return found


def list_mistakes(dispatcher: dict[str, Any]) -> list[str]:
    """What is wrong with the list that a [dispatcher] section without mistakes names."""
    try:
        dispatcher_list.read(dispatcher["list"], dispatcher)
    except dispatcher_list.ListError as error:
        return [str(problem) for problem in error.problems]
    return []
