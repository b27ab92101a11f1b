"""`forecaster warmup`: compiles all kernels before the first start."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import click

from service.cli._errors import FAILED
from service.cli._options import with_config
from service.config.sections import Config
from service.kernels import VARIABLE as FORM_VARIABLE

CACHE_VARIABLE = "NUMBA_CACHE_DIR"


@click.command(short_help="Compile all kernels before the first start.")
@click.argument("directory", required=False, type=click.Path(file_okay=False, path_type=Path), metavar="[DIR]")
@with_config("--horizon", "--season", "--interval")
def warmup(config: Config, *, directory: Path | None) -> None:
    """Compile all kernels that a daemon and its trainings use, into DIR.

    For images and packages: later starts with NUMBA_CACHE_DIR=DIR load the machine code from there. There are two
    forms of it: one serves every configuration of the same cell and head, compiled for both heads where trainings try
    both (retrain.search); the other is for the configured network and faster by about a fifth. Both are specific to the
    type of this machine's processor; another processor compiles once itself, and adds its code to DIR where DIR is
    writable. Without DIR, the code is stored in NUMBA_CACHE_DIR if set, else in the folder of the program.

    Runs a daemon over generated events, with one training, in a temporary folder.

    Exit status: 0 compiled, 1 the daemon failed or DIR cannot be written, 2 wrong configuration.
    """
    for group in config.group_names:
        config.of_group(group).library_model()
    environment = dict(os.environ)
    if directory is not None:
        directory.mkdir(parents=True, exist_ok=True)
        environment[CACHE_VARIABLE] = str(directory.resolve())
    began = time.monotonic()
    # In a separate process, because the cache folder is fixed when the library is imported. -P: run the installed
    # program, not one in the current folder.
    command = [sys.executable, "-P", "-m", "service.cli._warmup_process"]
    for form in ("general", "literal"):
        for group in config.group_names:
            for network in _networks(config.of_group(group), form):
                settings = network.model_dump_json().encode()
                environment[FORM_VARIABLE] = form
                done = subprocess.run(command, input=settings, env=environment, check=False)  # noqa: S603 - our program
                if done.returncode:
                    raise click.exceptions.Exit(FAILED)
    where = environment.get(CACHE_VARIABLE)
    found = [path.stat().st_size for path in Path(where).rglob("*.nbc")] if where else []
    content = f": {len(found)} kernels, {sum(found) / 2**20:.1f} MiB in {where}" if where else ""
    click.echo(f"compiled in {time.monotonic() - began:.0f} s{content}")


def _networks(config: Config, form: str) -> list[Config]:
    """Returns the settings of the networks to compile: the configured one, and where trainings try both heads both.

    The literal form is for the configured one only: of another one the daemon compiles it when it is in force.
    """
    if form == "literal" or "head" not in config.retrain.search:
        return [config]
    models = (config.model.model_copy(update={"head": head}) for head in ("direct", "decoder"))
    return [config.model_copy(update={"model": model}) for model in models]
