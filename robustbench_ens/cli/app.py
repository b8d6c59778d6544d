"""The command `rbe` with its sub-commands, each of which is imported when it is called."""

from __future__ import annotations

import sys
from importlib import import_module

import click

from robustbench_ens.cli import exits
from robustbench_ens.version import __version__

COMMANDS = {
    "quickstart": "robustbench_ens.cli.quickstart:quickstart",
    "list": "robustbench_ens.cli.list:list_command",
    "show": "robustbench_ens.cli.show:show",
    "plan": "robustbench_ens.cli.plan:plan",
    "train": "robustbench_ens.cli.train:train",
    "attack": "robustbench_ens.cli.attack:attack",
    "report": "robustbench_ens.cli.report:report",
    "check": "robustbench_ens.cli.check:check",
    "pin": "robustbench_ens.cli.pin:pin",
    "publish": "robustbench_ens.cli.publish:publish",
    "import-checkpoint": "robustbench_ens.cli.checkpoints:import_checkpoint",
    "export-checkpoint": "robustbench_ens.cli.checkpoints:export_checkpoint",
}
"""Commands by name, in the order of help, as ``package.module:name``.

`rbe --help` imports all of these modules, so that they must import nothing heavy before their command is called.
"""


class LazyGroup(click.Group):
    """A group of commands that are imported from :data:`COMMANDS`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, in the order of help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command, or return None if there is no command of this name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command = getattr(import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that ``args`` begin with.

        Raises:
            UsageError: there is no such command.
        """
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            raise click.UsageError(f"expected a command, one of {', '.join(COMMANDS)}, got {args[0]!r}", ctx)
        return super().resolve_command(ctx, args)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog=exits.EXIT_CODES,
)
@click.version_option(__version__, prog_name="rbe")
def rbe() -> None:
    """Adversarial robustness of ensembles: train a zoo, attack it, report, guard the numbers.

    Recipes and protocols are given by name (digits/dverge-3) or path (my/recipe.toml), with changes in brackets:
    digits/dverge-3[epochs=5]. The name of a built-in recipe or protocol always means the built-in one.
    """


def main(arguments: list[str] | None = None) -> None:
    """Run `rbe` and exit with one of the codes of :mod:`robustbench_ens.cli.exits`."""
    sys.exit(exits.run(lambda: rbe.main(arguments, prog_name="rbe", standalone_mode=False)))
