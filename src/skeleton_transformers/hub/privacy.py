"""Nothing that is published tells where on whose machine it was made."""

from __future__ import annotations

import getpass
import re
import socket
from pathlib import Path


# Names of accounts and machines that name nobody.
_NOBODY = frozenset(
    "admin app docker home jovyan local localhost nobody root runner sandbox test ubuntu user users vscode work".split()
)

_PART = r"[^\s\"'`|<>:*?,;(){}\[\]/\\]+"
# Absolute paths: /a/b, ~/a, C:\a\b (in JSON with two backslashes), \\host\a. Not the paths of addresses, nor the / of "and/or" or "</b>".
_PATH = re.compile(
    rf"file://(?:/{_PART})+/?"
    rf"|(?<![\w.:/~<>\\-])~?(?:/{_PART})+/?"
    rf"|(?<!\w)[A-Za-z]:(?:\\\\?|/)(?:{_PART}(?:\\\\?|/))*(?:{_PART})?"
    rf"|(?<![\w\\])\\\\(?:\\\\)?{_PART}(?:\\\\?{_PART})+"
)


def remove_paths(text: str) -> str:
    """The text with every absolute path replaced by its last part: `/home/me/stores/ntu60` becomes `ntu60`."""

    def last_part(match: re.Match[str]) -> str:
        return _last_part(match[0]) if _is_path(match[0]) else match[0]

    return _PATH.sub(last_part, text)


def find_private(text: str, public: tuple[str, ...] = ()) -> list[str]:
    """What in a text belongs to this machine: absolute paths, and the names of the account and of the machine.

    Args:
        text: what is to be published.
        public: names that are no secret, such as the owner of the repository.
    """
    found = [match[0] for match in _PATH.finditer(text) if _is_path(match[0])]
    for name in sorted(_own_names() - set(public)):
        if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text):
            found.append(name)
    return found


def _is_path(text: str) -> bool:
    # "/s" alone may be "per second"; a name that exists here is a path.
    return bool(_last_part(text)) and (
        len(re.findall(r"[/\\]+", text.rstrip("/\\"))) > 1 or Path(text).expanduser().exists()
    )


def _last_part(path: str) -> str:
    return re.split(r"[/\\]+", path.rstrip("/\\"))[-1]


def _own_names() -> set[str]:
    names = {Path.home().name, socket.gethostname()}
    try:
        names.add(getpass.getuser())
    except (OSError, KeyError, ImportError):  # an account without a name
        pass
    return {name for name in names if len(name) > 1 and name.lower() not in _NOBODY}


__all__ = ["find_private", "remove_paths"]
