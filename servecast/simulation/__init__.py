"""One config under a trace or a made-up load, request by request."""
