"""Whether this user may act on a run: who advances it runs what its directory says."""

from __future__ import annotations

import os

from ..store.trust import distrust, owners, require

_PARTS = ("mailbox", "events", "code", "jobs", "scripts", "inputs", "tags", "lease")


def require_own(root: str) -> None:
    """Make sure that a run is this user's, or of somebody whom this user's configuration trusts.

    Reading a run needs no trust: its records are plain data.

    Raises
    ------
    Untrusted
        It is not, or everybody may write in it.
    """
    home = os.path.dirname(root)
    outer = (os.path.dirname(home),)  # it may be one like /tmp
    inner = (home, root, *(f"{root}/{part}" for part in _PARTS))
    trusted = owners()
    if distrust(outer, trusted, sticky=True)[0] or distrust(inner, trusted)[0]:
        from ..config import load_config
        from ..plugins import registry as plugin_registry

        config = load_config(os.getcwd(), tables=lambda disabled: plugin_registry(disabled).settings())
        trusted = owners(config.get("run.trusted_owners") or ())
        require(outer, "the run directory", trusted, sticky=True)
        require(inner, "the run", trusted)
