"""softmax and log_softmax, which couple the neurons of a sample."""

import numpy as np

from fastbackprop.functions.activations import GLOROT, Coupled, register

# softmax: a_k = e^(z_k - m) / sum_i e^(z_i - m), m = max_i z_i; da_k/dz_j = a_k (1[k=j] - a_j),
# symmetric. When a moves along R a, dC/dz_j = a_j (u_j - sum_k u_k a_k), u = dC/da, moves along
# R a_j (u_j - sum_k u_k a_k) - a_j sum_k u_k R a_k.


def softmax(Z: np.ndarray) -> np.ndarray:
    E = np.exp(Z - Z.max(axis=1, keepdims=True))
    return E / E.sum(axis=1, keepdims=True)


def softmax_pull_back(G: np.ndarray, Z: np.ndarray, A: np.ndarray) -> np.ndarray:
    return A * (G - (G * A).sum(axis=1, keepdims=True))


def softmax_second(
    U: np.ndarray, RZ: np.ndarray, RA: np.ndarray, Z: np.ndarray, A: np.ndarray
) -> np.ndarray:
    inner, R_inner = ((U * X).sum(axis=1, keepdims=True) for X in (A, RA))
    return RA * (U - inner) - A * R_inner


register(
    "softmax",
    softmax,
    softmax_pull_back,
    "e^z_k / sum_i e^z_i",
    GLOROT,
    second=softmax_second,
    kind=Coupled,
)


# log_softmax: a_k = (z_k - m) - log sum_i e^(z_i - m); da_k/dz_j = 1[k=j] - e^a_j


def log_softmax(Z: np.ndarray) -> np.ndarray:
    Z = Z - Z.max(axis=1, keepdims=True)
    return Z - np.log(np.exp(Z).sum(axis=1, keepdims=True))


def log_softmax_pull_back(G: np.ndarray, Z: np.ndarray, A: np.ndarray) -> np.ndarray:
    return G - np.exp(A) * G.sum(axis=1, keepdims=True)


def log_softmax_push_forward(RZ: np.ndarray, Z: np.ndarray, A: np.ndarray) -> np.ndarray:
    return RZ - (np.exp(A) * RZ).sum(axis=1, keepdims=True)


def log_softmax_second(
    U: np.ndarray, RZ: np.ndarray, RA: np.ndarray, Z: np.ndarray, A: np.ndarray
) -> np.ndarray:
    return -np.exp(A) * RA * U.sum(axis=1, keepdims=True)


register(
    "log_softmax",
    log_softmax,
    log_softmax_pull_back,
    "z_k - log sum_i e^z_i",
    GLOROT,
    second=log_softmax_second,
    push_forward=log_softmax_push_forward,
    kind=Coupled,
)
