"""Run the command line as ``python -m robustbench_ens``."""

from robustbench_ens.cli import main

if __name__ == "__main__":
    main()
