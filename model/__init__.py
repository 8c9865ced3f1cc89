"""Features, networks, training, the bundle on disk and the scorer: TensorFlow and numpy, no Beam.

Importing this package loads neither TensorFlow nor Keras; the modules that need them do.
"""

import os

# Both are read when the libraries are first imported, so they must stand before any of our modules does that.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
