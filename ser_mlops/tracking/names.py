"""Names of the tags that tell runs apart; they are all that a command needs of MLflow before it computes."""

CHILD_KEY_TAG = "training"
"""Tag that tells the child runs of one parent apart: "CREMA fold 0 round 1"."""
STUDY_TAG = "study"
"""Tag of a sweep's runs: the name of its study, which resumes it."""
TITLE_TAG = "title"
"""Tag of a parent: what it is in our words, as its name may be the user's own."""
