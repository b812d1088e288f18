"""The ground floor of compiled code: options, the disk cache, calls by address, register tiles."""
