"""enrich: FeatureStore x AnnotationStore -> EnrichmentResult."""
