"""Attacks, one a file; :data:`robustbench_ens.config.attacks.ATTACKS` names them."""
