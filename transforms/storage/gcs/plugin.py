"""Patches Beam's access to Cloud Storage on import. Only Beam's workers import this module.

Workers import the modules of the option `beam_plugins` before they run any step. Other processes call `patch_beam`.
"""

from transforms.storage.gcs.client import patch_beam

patch_beam()
