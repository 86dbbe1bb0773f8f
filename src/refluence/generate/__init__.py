"""The few images sampled from a diffusion model, steered by influence and diversity (IGD, ICLR 2025); one file a method."""
