"""The recipe: how the networks of a tabular model are made and trained.

After RealMLP: Holzmueller, Grinsztajn, Steinwart (2024), "Better by default: strong pre-tuned MLPs
and boosted trees on tabular data".
"""

from dataclasses import dataclass, replace

RATE = {True: 0.105, False: 0.06}  # of regression and classification
BETAS = (0.9, 0.95)
DECAY = 0.02
SMOOTHING = 0.1  # of labels
FEW_ROWS = 2500  # with more rows each row is seen in fewer epochs


@dataclass(frozen=True)
class Group:
    """Networks that differ in their folds alone."""

    epochs: int
    dropout: float
    hidden: tuple[int, ...] = (64, 64)
    batch_size: int = 64

    def for_rows(self, n: int, most: int | None = None) -> "Group":
        """With fewer epochs where there are many rows, a quarter at least, and `most` at most."""
        fewer = min(1.0, (FEW_ROWS / n) ** 0.6)
        epochs = max(1, self.epochs // 4, round(self.epochs * fewer))
        return replace(self, epochs=epochs if most is None else min(epochs, most))


QUALITIES = {
    "fast": (Group(epochs=32, dropout=0.1),),
    "best": (Group(epochs=32, dropout=0.15), Group(epochs=128, dropout=0.0)),
}
