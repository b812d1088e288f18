"""Attacks on the package: what no use should bring about, tried at random.

    python -m tests.fuzz --calls 5000 --seed 0          hostile calls of the public interface
    python -m tests.fuzz --kills 200 --damages 5000     processes killed while they write; files
    python -m tests.fuzz --configurations 1000          engines against an oracle
    python -m tests.fuzz --guards 1000                  the same at the ends of memory
    python -m tests.fuzz --only calls:12345 --seed 0    one of them again

A call may give a result, or an error of a documented kind; then no bit of any parameter is another.
It may not crash, hang, or leave a parameter that is not finite. A file that is written by a killed
process is the old one or the new one; a damaged file is refused or read, in seconds and little
memory. What is tried runs in processes of their own, one after the other, so that a crash ends
nothing else, and each attempt has its own random numbers, so that it can be repeated alone.

A new method of the package is one more line in `calls.CALLS`.
"""
