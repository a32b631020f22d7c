"""Linear probes: how much of an emotion, a speaker or a corpus can be read from vectors of clips, and the vectors in two dimensions.

The probe is a linear discriminant analysis of standardised vectors with the shrinkage of Ledoit and Wolf (2004) and equal priors: it
follows from the training clips in closed form, has nothing to choose, and takes about as long for ninety speakers as for seven emotions.
A clip's answer comes from a probe that was fitted without the clip's fold.

Shape letters: N clips, D numbers of a clip, C classes.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.manifold import TSNE
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

FOLDS = 5
PERPLEXITY = 30
MOST_DIMENSIONS = 50
"""t-SNE is computed from so many principal components at most, as its authors advise."""
Item = TypeVar("Item")
Result = TypeVar("Result")


def held_out_answers(vectors_ND: np.ndarray, classes_N: np.ndarray, folds_N: np.ndarray) -> np.ndarray:
    """Return log probabilities_NC of each clip's class, the classes sorted, by probes fitted to the other folds.

    A class that the other folds lack gets minus infinity. Clips of fold -1 are only trained on, and get it for every class.
    """
    names = np.unique(classes_N)
    log_probabilities_NC = np.full((len(classes_N), len(names)), -np.inf)
    vectors_ND = vectors_ND.astype(np.float64)
    for fold in np.unique(folds_N[folds_N >= 0]):
        tested = folds_N == fold
        present = np.unique(classes_N[~tested])
        if len(present) == 1:
            log_probabilities_NC[np.ix_(tested, np.isin(names, present))] = 0.0
            continue
        analysis = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=np.full(len(present), 1 / len(present)))
        probe = make_pipeline(StandardScaler(), analysis).fit(vectors_ND[~tested], classes_N[~tested])
        log_probabilities_NC[np.ix_(tested, np.isin(names, present))] = probe.predict_log_proba(vectors_ND[tested])
    return log_probabilities_NC


def balanced_accuracy(log_probabilities_NC: np.ndarray, classes_N: np.ndarray) -> float:
    """Return the mean recall over the classes, sorted as `held_out_answers` has them."""
    names, labels_N = np.unique(classes_N, return_inverse=True)
    is_right = log_probabilities_NC.argmax(axis=1) == labels_N
    return float(np.mean([is_right[labels_N == label].mean() for label in range(len(names))]))


def folds_by_group(classes_N: np.ndarray, groups_N: np.ndarray, seed: int) -> np.ndarray:
    """Return a fold for each clip, at most FOLDS, no group in two of them and every class in all as far as its groups allow.

    Returns -1 for all where a class has a single group, and can only be tested or trained on.
    """
    groups_by_class = [len(np.unique(groups_N[classes_N == name])) for name in np.unique(classes_N)]
    if min(groups_by_class) < 2:
        return np.full(len(classes_N), -1)
    splitter = StratifiedGroupKFold(min(FOLDS, *groups_by_class), shuffle=True, random_state=seed % 2**32)
    return _numbered(splitter.split(classes_N, classes_N, groups_N), len(classes_N))


def folds_within_classes(classes_N: np.ndarray, seed: int) -> np.ndarray:
    """Return a fold for each clip, with every class in all of them; -1 for the clips of classes that have fewer than FOLDS."""
    _, places, counts = np.unique(classes_N, return_inverse=True, return_counts=True)
    kept = counts[places] >= FOLDS
    folds_N = np.full(len(classes_N), -1)
    if kept.any() and (counts >= FOLDS).sum() > 1:
        splitter = StratifiedKFold(FOLDS, shuffle=True, random_state=seed % 2**32)
        folds_N[kept] = _numbered(splitter.split(classes_N[kept], classes_N[kept]), int(kept.sum()))
    return folds_N


def _numbered(splits: Iterable[tuple[np.ndarray, np.ndarray]], num_clips: int) -> np.ndarray:
    folds_N = np.full(num_clips, -1)
    for number, (_, tested) in enumerate(splits):
        folds_N[tested] = number
    return folds_N


def side_by_side(compute: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Iterable[Result]:
    """Compute something of each item, so many at a time and each in one thread, and yield the results in order."""
    with threadpool_limits(1), ThreadPoolExecutor(workers) as pool:
        yield from pool.map(compute, items)


def in_two_dimensions(vectors_ND: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return PCA_N2 and t-SNE_N2 of standardised vectors, and the shares of the variance that the two principal components have."""
    with threadpool_limits(1):
        standardised = StandardScaler().fit_transform(vectors_ND.astype(np.float64))
        pca = PCA(min(MOST_DIMENSIONS, *standardised.shape), svd_solver="full").fit(standardised)
        components = pca.transform(standardised)
        perplexity = min(PERPLEXITY, (len(components) - 1) / 3)
        embedded = TSNE(2, perplexity=perplexity, init="pca", random_state=seed % 2**32, n_jobs=1).fit_transform(components)
    return components[:, :2], embedded, pca.explained_variance_ratio_[:2]
