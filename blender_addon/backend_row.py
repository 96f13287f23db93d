# SPDX-License-Identifier: GPL-3.0-or-later
"""How the backend stands, in one sentence with its button."""

from dataclasses import dataclass

from .environment import Environment
from .launch import Phase, Status
from .protocol import Warming, Welcome
from .set_up_plan import SetUpState, SetUpStatus
from .troubles import Remedy, Trouble
from .updates import Link, LinkChanged
from .wording import Say, duration


@dataclass(frozen=True)
class BackendRow:
    """How the backend stands."""

    sentence: str
    remedy: Remedy = Remedy.NONE
    ready: bool = False
    """Whether a photo can be sent now."""
    busy: bool = False
    """Whether something is under way: show it calm, without a warning."""
    fraction: float | None = None
    """Of a set-up, or of the kernels' compiling."""
    detail: str = ""


NOT_CONNECTED = LinkChanged(Link.CLOSED)


@dataclass(frozen=True)
class Parts:
    """Everything that the sentence depends on."""

    environment: Environment | None = None
    local: Status | None = None
    set_up: SetUpStatus | None = None
    remote: str = ""
    link: LinkChanged = NOT_CONNECTED
    welcome: Welcome | None = None
    warming: Warming | None = None
    stopping: bool = False
    not_ready: Trouble | None = None
    """Why no worker can start."""


def backend_row(parts: Parts, say: Say) -> BackendRow:
    """Give the sentence for how everything stands; what is nearer to the user comes first."""
    if parts.remote:
        return _linked(parts, say)
    return _set_up(parts, say) or _local(parts, say) or _linked(parts, say)


def _set_up(parts: Parts, say: Say) -> BackendRow | None:
    found = parts.set_up
    if found is None:
        return None
    if found.state in (SetUpState.RUNNING, SetUpState.CANCELLING):
        since = duration(found.seconds, say)
        sentence = say("Setting up the backend: {} ({})").format(say(found.line), since)
        return BackendRow(sentence, busy=True, fraction=found.fraction)
    if found.trouble is not None and parts.environment is None:
        return _troubled(found.trouble, say)
    return None


def _local(parts: Parts, say: Say) -> BackendRow | None:
    """Give the sentence as long as the backend's process is what matters."""
    status = parts.local or Status()
    connected = parts.link.link is Link.CONNECTED
    row = None
    match status.phase:
        case _ if parts.environment is None and not connected:
            row = BackendRow(say("The backend is not installed"), Remedy.SET_UP)
        case Phase.STARTING:
            starts = "The backend starts again" if status.restarts else "The backend starts"
            row = BackendRow(say(starts), busy=True)
        case Phase.WAITING if status.trouble is not None:
            trouble = status.trouble
            told = trouble.told(say)
            row = BackendRow(told, Remedy.OPEN_LOG, busy=True, detail=trouble.detail)
        case Phase.STOPPING:
            row = BackendRow(say("The backend writes its checkpoint and stops"), busy=True)
        case Phase.FAILED if status.trouble is not None:
            row = _troubled(status.trouble, say)
        case Phase.STOPPED if not connected:
            row = BackendRow(say("The backend is stopped"), Remedy.START)
        case _:
            pass
    return row


def _linked(parts: Parts, say: Say) -> BackendRow:
    link = parts.link
    if parts.stopping and link.link is Link.CONNECTED:
        return BackendRow(say("The backend stops; jobs go on at its next start"), busy=True)
    match link.link:
        case Link.CONNECTED:
            return _connected(parts, say)
        case Link.CLOSED:
            return BackendRow(say("Not connected"), Remedy.CONNECT)
        case Link.CONNECTING if link.trouble is None or _comes_up(parts):
            return BackendRow(say("Connecting to the backend"), busy=True)
        case Link.LOST if _comes_up(parts) and link.trouble is not None:
            return BackendRow(say("Connecting to the backend again"), busy=True)
        case _:
            return _troubled(link.trouble or Trouble("Not connected", Remedy.CONNECT), say)


def _comes_up(parts: Parts) -> bool:
    """Say whether the launcher sees to it that there soon is somebody to connect to."""
    phase = parts.local.phase if parts.local is not None else Phase.STOPPED
    helps = parts.link.trouble is None or parts.link.trouble.remedy is Remedy.START
    return not parts.remote and phase in (Phase.RUNNING, Phase.SHARED) and helps


def _connected(parts: Parts, say: Say) -> BackendRow:
    welcome, warming = parts.welcome, parts.warming
    if parts.not_ready is not None:
        trouble = parts.not_ready
        told = trouble.told(say)
        return BackendRow(told, trouble.remedy, ready=True, detail=trouble.detail)
    if welcome is not None and welcome.ready:
        where = ", ".join(dict.fromkeys(device.title for device in welcome.devices))
        if parts.remote:
            where = say("{} on {}").format(where, parts.remote)
        return BackendRow(say("Ready: {}").format(where) if where else say("Ready"), ready=True)
    if warming is not None and warming.of and warming.done < warming.of:
        sentence = say("The backend compiles kernels, {} of {}").format(warming.done, warming.of)
        fraction = warming.done / warming.of
        return BackendRow(sentence, ready=True, busy=True, fraction=fraction)
    return BackendRow(say("The backend's worker starts"), ready=True, busy=True)


def _troubled(trouble: Trouble, say: Say) -> BackendRow:
    return BackendRow(trouble.told(say), trouble.remedy, detail=trouble.detail)
