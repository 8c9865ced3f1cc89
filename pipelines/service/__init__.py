"""The parts of `audiosieve serve`, which scores recordings over HTTP.

A request passes these modules in order: `app` (routes), `request_flow` (the steps of a request), `uploads` (the bytes, within
limits), `decoding` (decoding and features, in a pool of threads), `batcher` (model calls that requests share, in a thread of
their own) and `responses` (JSON). An error on the way is a `problems.Problem`. `capacity` limits what the service holds at a
time. `nginx` starts several services behind nginx.
"""
