"""The parts of `audiosieve serve`: a recording comes in over HTTP, its score goes back.

A request passes them in this order: `app` (routes) -> `work`, which leads it through `uploads` (the bytes, under limits),
`hearing` (decoded and featurized, in a pool of threads), `batcher` (calls of the model that requests share, in a thread of its
own) and `answers` (JSON). What goes wrong on the way is a `problems.Problem`. `room` bounds what is inside at a time. `front`
starts several of such services behind nginx.
"""
