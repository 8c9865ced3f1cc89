"""Patches Beam's access to Cloud Storage where this module is imported: in Beam's workers.

Workers import the modules of the option `beam_plugins` before they run any step. No other module imports this one; other
processes call `patch_beam`.
"""

from transforms.storage.gcs import patch_beam

patch_beam()
