"""One run from its configuration: build, train, evaluate, pre-train."""
