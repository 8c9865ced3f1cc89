"""Features, networks, training, the bundle on disk and the scorer: TensorFlow and numpy, no Beam.

Importing this package loads neither TensorFlow nor Keras; the modules that need them do.
"""

import os

# Keras and TensorFlow read these variables when they are first imported.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
