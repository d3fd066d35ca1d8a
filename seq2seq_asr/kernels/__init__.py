"""Optional GPU kernels; each mirrors a function of ``nn`` and is tested against it. None yet."""
