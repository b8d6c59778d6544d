"""Everything that moves pixels: the gradient loop, its treatments, losses, feature distillation."""
