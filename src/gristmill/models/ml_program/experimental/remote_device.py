"""Devices beside this computer, which coremltools drives from a Mac. Here they can be described, but not driven."""

from __future__ import annotations

import enum
import os
from dataclasses import dataclass
from typing import NoReturn

from gristmill.errors import UnsupportedError


@dataclass(frozen=True)
class AppSigningCredentials:
    """Who signs the application that would run models on a device.

    Attributes:
        development_team: Identifier of the team.
        provisioning_profile_uuid: Of the profile to use in place of one that Xcode makes.
        bundle_identifier: Of the application.
    """

    development_team: str | None = ""
    provisioning_profile_uuid: str | None = None
    bundle_identifier: str | None = None


class _Text(enum.Enum):
    """An enumeration of texts in which a text that it does not know is ``UNKNOWN``."""

    @classmethod
    def _missing_(cls, value: object) -> enum.Enum:
        return cls["UNKNOWN"]


class DeviceType(_Text):
    """Kinds of devices; the values are those of Apple's ``devicectl``."""

    MAC = "mac"
    IPHONE = "iphone"
    IPAD = "ipad"
    APPLETV = "apppletv"
    WATCH = "applewatch"
    HOMEPOD = "homepod"
    UNKNOWN = "unknown"


class DeviceState(_Text):
    """Whether a device can be reached."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    AVAILABLE = "available"
    UNAVAILABLE = "unavailable"
    DISCONNECTED = "disconnected"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Device:
    """A device as ``devicectl`` describes it."""

    name: str
    type: DeviceType
    identifier: str
    udid: str
    os_version: str
    os_build_number: str
    developer_mode_state: str
    state: DeviceState
    session: object | None

    @staticmethod
    def get_devices() -> list[Device]:
        """All devices.

        Raises:
            UnsupportedError: Always.
        """
        refuse()

    @staticmethod
    def get_connected_devices(device_type: DeviceType) -> list[Device]:
        """Connected devices of one kind.

        Raises:
            UnsupportedError: Always.
        """
        refuse()

    async def prepare_for_model_debugging(
        self,
        credentials: AppSigningCredentials | None = None,
        working_directory: str | os.PathLike[str] | None = None,
        clean: bool = False,
    ) -> Device:
        """Installs what runs models on the device.

        Raises:
            UnsupportedError: Always.
        """
        refuse(self)


def refuse(device: Device | None = None) -> NoReturn:
    """Says that models run on this computer only.

    Raises:
        UnsupportedError: Always.
    """
    raise UnsupportedError(
        "remote devices are not driven",
        expected="device=None: this computer",
        actual=device.name if isinstance(device, Device) else device,
        hint="coremltools drives connected devices from a Mac",
    )


def only_here(device: Device | None) -> None:
    """Refuses every device but this computer.

    Raises:
        UnsupportedError: ``device`` is given.
    """
    if device is not None:
        refuse(device)
