"""One file per command (or group): flags in, one call, an answer out. Heavy imports happen inside the functions."""
