"""Export a logged model to ONNX with its contract: entry point `export_onnx`."""

from ser_mlops.commands import parse_arguments
from ser_mlops.errors import SettingsError
from ser_mlops.tracking.command import run_tracked_command


def main() -> None:
    settings = parse_arguments(["export_onnx"], "Export a model to ONNX: mlflow run . -e export_onnx -P model_uri=models:/ser@champion")
    chosen = settings.export_onnx
    if chosen.model_uri is None:
        raise SettingsError("model_uri is not given, expected models:/NAME@champion, a run id or a folder")
    from pathlib import Path

    from ser_mlops.serving.champion import fetched
    from ser_mlops.serving.onnx_export import GRAPH, TOLERANCE, check_installed, export_onnx
    from ser_mlops.tracking.recovery import bring_all

    check_installed()
    bring_all(Path(settings.paths.checkpoints))
    with fetched(chosen.model_uri) as folder:
        worst = export_onnx(folder, Path(chosen.output))
    print(f"{chosen.output}/{GRAPH}: at most {worst:.1e} from the model in a probability (accepted: {TOLERANCE:g})")


if __name__ == "__main__":
    run_tracked_command("export_onnx", main)
