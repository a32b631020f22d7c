"""What a cluster needs is looked at before anything is queued."""

from ser_mlops.laboratory import Experiment


def check_cluster(experiment: Experiment, num_jobs: int) -> None:
    """Refuse what cannot work."""
