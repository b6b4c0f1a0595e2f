"""The node's address on a link of ours, and whose cluster it belongs to.

A machine can be one node only: there is one link, one nftables table of kube-proxy, one cgroup. The link's alias is the
data folder of the cluster that made it, so that another cluster knows whom to ask, and what a crash left behind can be
told from what runs.
"""

import json
import subprocess
from pathlib import Path

from dev.cluster.settings import NODE_ADDRESS
from dev.errors import DevError, ProgramFailedError
from dev.images.packages import find_program

_LINK = "flowmachine0"
_PROXY_TABLES = ("ip", "ip6")
_ALIAS_LENGTH_MAX = 255  # of the kernel


def find_owner() -> Path | None:
    """Return the data folder of the cluster whose node this machine is; None when it is none."""
    shown = subprocess.run(["ip", "-json", "link", "show", _LINK], capture_output=True, text=True, check=False)
    if shown.returncode != 0:
        return None
    return Path(json.loads(shown.stdout)[0].get("ifalias", "/"))


def make_link(data_dir: Path) -> None:
    """Make the link with the node's address. A bridge without ports: every kernel has those, not all have dummies."""
    if len(str(data_dir)) > _ALIAS_LENGTH_MAX:
        message = f"The path of the data folder is too long: {data_dir}"
        raise DevError(message)
    _ip("link", "add", _LINK, "type", "bridge")
    _ip("link", "set", _LINK, "alias", str(data_dir))
    _ip("address", "add", f"{NODE_ADDRESS}/32", "dev", _LINK)
    _ip("link", "set", _LINK, "up")


def remove_network() -> None:
    """Remove the link, and the rules that kube-proxy leaves when it ends."""
    nft = find_program("nft")
    for family in _PROXY_TABLES if nft is not None else ():
        subprocess.run([str(nft), "delete", "table", family, "kube-proxy"], capture_output=True, check=False)
    subprocess.run(["ip", "link", "delete", _LINK], capture_output=True, check=False)


def _ip(*arguments: str) -> None:
    result = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        message = f"`ip {' '.join(arguments)}`: {result.stderr.strip()}"
        raise ProgramFailedError(message)
