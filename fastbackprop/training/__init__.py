"""What `Network.fit` does: epochs of minibatches, callbacks, early stopping, checkpoints."""
