"""Our figures beside those of SAEBench 0.6.0 and sae-probes 0.4.2 on the same model, SAEs and inputs."""
