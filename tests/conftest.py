"""What every test may take for granted."""

import signal

# A shell starts background jobs with SIGINT ignored, and children inherit that: without this the
# tests of Ctrl-C would fail wherever the suite runs in the background.
signal.signal(signal.SIGINT, signal.default_int_handler)
