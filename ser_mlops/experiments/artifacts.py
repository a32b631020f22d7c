"""Names under which the runs of an experiment hold their files."""

SETTINGS_FILE = "settings.yaml"
ENVIRONMENT_FILE = "environment.txt"
CODE_FILE = "code.sha256"
HISTORY_FILE = "history.csv"
FIGURES_FOLDER = "figures"
