"""Policy heads: diffusion and flow matching, their denoising networks and sampling."""
