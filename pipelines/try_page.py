"""Try: a page in the browser that shows what a model answers about a recording. `make try`, `make try MODEL=RUN_ID`"""

from ser_mlops.commands import parse_arguments, run_command
from ser_mlops.errors import SettingsError


def main() -> None:
    settings = parse_arguments(["try_page"], "Try a model on recordings in the browser: make try, make try MODEL=RUN_ID")
    try:
        from ser_mlops.serving.page import serve_page
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        raise SettingsError("the page needs Gradio, the extra `try` of pyproject.toml: pip install 'gradio>=6'") from None
    from ser_mlops.serving.pyfunc import Limits

    chosen, serving = settings.try_page, settings.serving
    limits = Limits(serving.max_clips, serving.max_seconds, serving.max_megabytes)
    serve_page(chosen.model_uri, chosen.address, chosen.port, limits)


if __name__ == "__main__":
    run_command(main)
