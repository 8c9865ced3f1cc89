"""Parts of `audiosieve serve`, which scores recordings over HTTP.

A request passes these modules in order: `app` (routes), `request_flow` (the steps of a request), `uploads` (the bytes, within
limits), `decoding` (decoding and features, in a pool of threads), `batcher` (model calls that requests share, in a thread of
their own) and `responses` (JSON). An error in any step is a `problems.Problem`. `capacity` limits requests, bytes and frames
in the service. `nginx` runs several services behind nginx.
"""
