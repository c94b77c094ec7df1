"""match: SparseAutoencoder x SparseAutoencoder x ActivationSource -> FeatureMatch."""
