"""Which instances matter: directional derivatives, distillation influence, weights."""
