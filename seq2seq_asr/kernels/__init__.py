"""Optional GPU kernels; each mirrors a function of ``nn`` and is tested against it.

Only `plan` may be imported where Triton is not installed; ``nn.fused`` imports the others when they are needed.
"""
