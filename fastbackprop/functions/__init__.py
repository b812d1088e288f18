"""The formulas of activations and costs, derivatives beside them; no names, no parameters.

`activations` and `costs` have the names. Text that is written once:
a `formula` means the same for scalars in a kernel and for arrays in the loop-free engine. What
couples the neurons of a sample has a function of arrays and a kernel for a row.
"""
