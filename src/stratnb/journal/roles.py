"""Who may do what by command (dashboards 4): a viewer nothing, an operator what runs the engine, an owner the rest."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, get_args

from stratnb.errors import Refused, nearest

__all__ = ["LOCAL_ONLY", "NEEDS", "ROLES", "Role", "check_role"]

Role = Literal["viewer", "operator", "owner"]
ROLES: tuple[Role, ...] = get_args(Role)

_OPERATOR = (
    *("pause", "resume", "start", "stop", "step", "set_speed", "open_feed", "restart_feed"),
    *("add", "remove", "remove_all", "switch", "activate", "deactivate", "set_mode", "preview"),
    *("close_position", "move_stop", "breakeven", "cancel_order", "kill", "reduce", "set_limits"),
    "test_notifier",
    *("resize_cache", "evict", "pin", "unpin", "clear_cache"),
)
_OWNER = ("apply", "rollback", "release", "activate_risk", "adopt_orphan")

# The role that a command needs.
NEEDS: Mapping[str, Role] = MappingProxyType(
    {**dict.fromkeys(_OPERATOR, ROLES[1]), **dict.fromkeys(_OWNER, ROLES[2])},
)
# What is possible only in the kernel that trades, whatever the token.
LOCAL_ONLY = ("arm", "disarm", "set_keys")


def check_role(command: str, role: Role, args: Mapping[str, Any] = MappingProxyType({})) -> None:
    """Raise `Refused` unless a role may give a command: `command_local`, `command_unknown`, `role_needed`.

    >>> check_role("kill", "operator")
    """
    if command in LOCAL_ONLY:
        hint = "do it in the kernel that hosts the engine"
        raise Refused("command_local", f"{command!r} is never done by command", value=command, hint=hint)
    needed = NEEDS.get(command)
    if needed is None:
        close = nearest(command[:40], NEEDS)
        hint = f"did you mean {close[0]!r}?" if close else f"commands: {', '.join(NEEDS)}"
        raise Refused("command_unknown", f"there is no command {command[:40]!r}", value=command[:40], hint=hint)
    if command == "set_limits" and args.get("confirm"):
        needed = "owner"  # it may loosen them
    if ROLES.index(role) < ROLES.index(needed):
        hint = f"log in with the {needed} token"
        raise Refused("role_needed", f"{command!r} needs the role {needed}, not {role}", value=role, hint=hint)
