"""The ground floor of compiled code.

words               elementary functions and `formula`, in Python; needs no Numba
math, vector_math   the same functions in compiled code
kernels, call       decorators of compiled code, compiler options; calls by address
cache, folder       machine code on disk, in the package or in a folder that is trusted
processor           width of its vectors; classes of processors that wheels have code for
interrupts          Ctrl-C and forks wait for a compilation
tile, value         vectors in registers; expressions that write LLVM's instructions
reference, team     tuples by pointer; threads
numba_internals     everything of Numba that its documentation does not describe
availability        whether there is Numba at all
"""
