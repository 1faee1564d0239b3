"""The settings of a worker, and how they are read from the environment.

``settings.py`` declares them, ``kinds.py`` defines the kinds of values, ``loading.py`` reads and checks them.
"""

from weir.settings.kinds import NONE, OFF
from weir.settings.loading import load_settings
from weir.settings.settings import DAY, MIB, RECORD_OVERHEAD_BYTES, Settings

__all__ = ["DAY", "MIB", "NONE", "OFF", "RECORD_OVERHEAD_BYTES", "Settings", "load_settings"]
