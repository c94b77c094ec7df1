"""evaluate: SparseAutoencoder x ActivationSource -> Evaluation."""
