"""An adversarial-robustness benchmark for ensembles of image classifiers."""

__version__ = "0.1.0"
