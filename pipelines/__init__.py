"""One module a job: `build` reads like the sentence that describes it, `run` parses the command line and runs it."""
