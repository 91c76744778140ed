"""Every option of the server, declared once. No torch here: ``anyview --help`` must answer at once."""

import ipaddress
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Auth = Literal["auto", "on", "off"]
GIB = 2**30
MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """Where a server listens, whom it trusts, and how much it gives away."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 is all of them."""
    port: int = 8000
    """Port to listen on; 0 takes a free one."""
    data: Path = Path("anyview-data")
    """Folder of jobs and results; one server at a time."""
    models: tuple[str, ...] = ()
    """Models on offer, the first one by default: presets, hub repositories, folders or files. What is missing is
    downloaded when the server starts. Default: the presets that are on this machine."""
    offline: bool = False
    """Never download."""
    devices: tuple[str, ...] = ("auto",)
    """One worker process for each: auto, cpu, cuda:0, cuda:1, mps."""
    nice: int = 5
    """How far workers stand back behind answers (0: not at all; Unix)."""
    auth: Auth = "auto"
    """Ask for a token; auto: unless the address is a loopback one."""
    token_file: Path | None = None
    """Who may come in: a line `NAME TOKEN` for each. Default: one token, made up and kept in the data folder."""
    hosts: tuple[str, ...] = ()
    """Names that requests may call this server by, beside localhost, this machine's name and numeric addresses."""
    cors_origins: tuple[str, ...] = ()
    """Other sites whose pages may use this server, as https://example.org; they need tokens (--auth on)."""
    queue: int = 100
    """Jobs that wait and uploads, at most; one more is refused with 429."""
    queue_per_token: int = 20
    """Jobs of one token that wait or run, and uploads of one token, at most."""
    streams_per_token: int = 20
    """Event streams that one token may hold open."""
    files: int = 200
    """Files in an upload."""
    views: int = 200
    """Pictures and frames of videos in a job."""
    file_mib: float = 512.0
    """MiB of one uploaded file."""
    upload_mib: float = 2048.0
    """MiB of all files of an upload."""
    upload_stall_s: float = 60.0
    """Seconds that an upload may stand still."""
    upload_s: float = 3600.0
    """Seconds that an upload may take."""
    megapixels: float = 64.0
    """Million pixels of one picture or frame."""
    video_s: float = 600.0
    """Seconds of one video."""
    resolution: int = 1036
    """Longest side in pixels that jobs may ask the network to see."""
    points: int = 5_000_000
    """Points and tracks that jobs may ask for in one file."""
    job_s: float = 3600.0
    """Seconds that a job may run."""
    cancel_s: float = 5.0
    """Seconds that a cancelled job has to stop before its worker is ended."""
    depth_wait_s: float = 60.0
    """Seconds that /v1/depth waits for its result before it answers with the job instead."""
    keep_s: float = 86_400.0
    """Seconds that results are kept."""
    disk_mib: float = 20_480.0
    """MiB of all uploads and results; beyond, the oldest results are removed before their time, and uploads refused
    where the others alone take as much."""
    free_mib: float = 512.0
    """MiB of the disk that stay free: uploads that would leave less are refused."""
    sweep_s: float = 30.0
    """Seconds between removals of what has expired."""
    view_points: int = 400_000
    """Points of the cloud, and Gaussians, that the page shows at most."""

    def check(self) -> None:
        """Refuse what means nothing; not when made, so that the command line can say so in its own words.

        Raises:
            ValueError: Naming the option and what was expected.
        """
        if not 0 <= self.port <= 65535:
            raise ValueError(f"expected a port from 0 to 65535, got {self.port}")
        if not self.devices:
            raise ValueError("expected at least one device, got none")
        if self.resolution < 14:
            raise ValueError(f"expected a resolution of at least 14 pixels, one patch; got {self.resolution}")
        for name in ("queue", "queue_per_token", "streams_per_token", "files", "views", "points", "view_points"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected {name} of at least 1, got {getattr(self, name)}")
        for name in (
            *("file_mib", "upload_mib", "upload_stall_s", "upload_s", "megapixels", "video_s", "job_s", "cancel_s"),
            *("depth_wait_s", "keep_s", "disk_mib", "sweep_s"),
        ):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"expected {name} above 0, got {getattr(self, name)}")
        if not 0 <= self.nice <= 19:
            raise ValueError(f"expected nice from 0 to 19, got {self.nice}")
        if not 0 <= self.free_mib < math.inf:
            raise ValueError(f"expected free_mib of 0 or above, got {self.free_mib}")
        if self.cors_origins and not self.asks_for_tokens:
            raise ValueError("cors_origins need tokens, or other sites could do here what they want: --auth on")

    @property
    def is_loopback(self) -> bool:
        """Whether only programs on this machine can reach the server."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def asks_for_tokens(self) -> bool:
        """Whether requests need a token."""
        return self.auth == "on" or (self.auth == "auto" and not self.is_loopback)
