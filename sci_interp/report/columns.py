"""Columns of the report's tables: what they are called, and what they mean."""

from __future__ import annotations

from typing import NamedTuple

__all__ = [
    "HIDDEN_COLUMNS",
    "LINK_COLUMNS",
    "MATCHED_COLUMNS",
    "MISSING_COLUMNS",
    "SUMMARY_COLUMNS",
    "UNEXPLAINED_COLUMNS",
    "Column",
]


class Column(NamedTuple):
    """A column: its name in the table, its heading, and a line that explains it."""

    name: str
    title: str
    meaning: str = ""


LINK_COLUMNS = (
    Column("feature", "Feature"),
    Column("label", "Label"),
    Column("class", "Class", "site: more than record, position and region; else only one of these"),
    Column("n_instances", "Instances", "instances of the label on the half that tested the link"),
    Column("precision", "Precision", "share of active tokens that bear the label"),
    Column("instance_recall", "Instance recall", "share of instances hit by one token at least"),
    Column("event_recall", "Event recall", "share of events with an instance that is hit"),
    Column("f1", "F1", "of tokens, at the threshold frozen on the other half"),
    Column("hybrid_f1", "Hybrid F1", "of token precision and instance recall, as InterPLM's"),
    Column("log_odds", "Log odds"),
    Column("log_odds_low", "from", "95 % interval, blocks resampled"),
    Column("log_odds_high", "to", "95 % interval, blocks resampled"),
    Column("p", "p", "the largest of the nulls'"),
    Column("q_class", "q", "false discovery rate, of the nulls that the class rests on"),
    Column("best_baseline_hybrid_f1", "Baseline's hybrid F1", "best baseline for the same label"),
    Column("best_baseline", "Baseline"),
    Column("probe_hybrid_f1", "Probe's hybrid F1", "a linear probe fitted to the label"),
    Column("replicated", "Replicated", "on the vault"),
)
SUMMARY_COLUMNS = (
    Column("source", "Source"),
    Column("n_features", "Features"),
    Column(
        "n_labels_f1",
        "Labels, F1 > 0.5",
        "best feature on discovery has hybrid F1 above 0.5, and above always on, on both halves",
    ),
    Column("n_features_f1", "Features, F1 > 0.5", "so with some label"),
    Column("n_labels_f1_any", "Labels, any F1 > 0.5", "the published count, of any feature"),
    Column("n_labels_both", "Labels, both", "its best feature passes F1 and is site-level"),
    Column("n_labels_identifiable", "Identifiable", "labels in enough blocks to be linked"),
    Column("n_labels_site", "Labels, site-level"),
    Column("n_labels_regional", "Labels, regional", "linked in their region, and not site-level"),
    Column("n_features_site", "Features, site-level"),
    Column("n_pairs_site", "Links, site-level"),
    Column("mean_best_hybrid_f1", "Mean best hybrid F1", "over labels, chosen on discovery"),
    Column("n_tested", "Tested"),
    Column("n_not_identifiable", "Not identifiable", "too few independent blocks to judge"),
)
PROBE_COLUMNS = (
    Column("source", "Source"),
    Column("k", "Features together"),
    Column("n_labels", "Labels", "no nuisances, in at least 8 blocks of each half"),
    Column("mean_auroc", "Mean AUROC", "over labels, of test tokens"),
    Column("mean_average_precision", "Mean average precision", "over labels, of test tokens"),
    Column("n_labels_f1", "Labels, F1 > 0.5", "of test tokens, at the threshold of discovery"),
)
MATCHED_COLUMNS = (
    Column("label", "Label", "no nuisances"),
    Column("direction", "Chosen to measured", "halves of the blocks"),
    Column("covariate", "Best covariate", "by average precision; bins are cut by its level"),
    Column("feature", "Feature", "best inside the bins"),
    Column("n_positive", "Tokens", "with the label, in units of the largest token"),
    Column("ap_feature", "Feature's", "average precision inside bins"),
    Column("ap_covariate", "Covariate's", "average precision inside bins, of its finer levels"),
    Column("prevalence", "Chance", "share of tokens with the label inside bins"),
    Column("gain_over_covariate", "Gain", "feature's minus covariate's"),
    Column("gain_low", "from", "95 % interval, blocks resampled"),
    Column("gain_high", "to", "95 % interval, blocks resampled"),
    Column("gain_over_chance", "Gain over chance"),
    Column("gain_over_chance_low", "from", "95 % interval, blocks resampled"),
    Column("gain_over_chance_high", "to", "95 % interval, blocks resampled"),
    Column("beats_field", "Beats it", "both intervals are above 0; empty in too few blocks"),
)
UNEXPLAINED_COLUMNS = (
    Column("feature", "Feature"),
    Column("kind", "Kind"),
    Column("score", "Score", "coherence x (1 - upper bound) x reproducibility"),
    Column("n_families", "Blocks", "in which it fires"),
    Column("coherence_excess", "Coherence", "mean similarity of its windows, beyond matched ones"),
    Column("q", "q", "of coherence"),
    Column("label_share", "Explained", "share of its firing that three labels explain"),
    Column("label_upper", "at most", "upper 95 % bound; unexplained below 0.5"),
    Column("nuisance", "Nuisance", "letter, place or the like that explains most of it"),
    Column("nuisance_share", "explains", "share of its firing that the nuisance explains"),
    Column("nuisance_recall", "fires at", "share of the nuisance at which it fires"),
    Column("coherence_beyond", "Beyond", "coherence beyond windows matched in the nuisance"),
    Column("explained_share", "Explained, all", "by three labels or nuisances"),
    Column("lead_lower", "Best label alone", "lower 95 % bound; sub-type at 0.5 and above"),
    Column("unexplained_strict", "Strict", "upper bound of labels below 0.3"),
    Column("recall", "Recall", "share of the best label at which it fires"),
    Column("reproducibility", "Reproducible", "mean correlation with other seeds' best match"),
    Column("causal", "Causal"),
    Column("explained_by", "Nearest labels"),
)
MISSING_COLUMNS = (
    Column("record", "Record"),
    Column("start", "From"),
    Column("stop", "To", "inclusive"),
    Column("label", "Label"),
    Column("feature", "Feature"),
    Column("n_features", "Detectors", "linked features of the label that fire here"),
    Column("score", "Level", "strongest level, 255 is the feature's scale"),
    Column("share_on_label", "On label", "share of equally strong firings that lie on the label"),
    Column("p", "p", "against decoys"),
    Column("q", "q", "false discovery rate over all records and labels tested"),
    Column("split", "Blocks", "detectors were chosen on discovery; test also tested their links"),
    Column("also_there", "Also there", "other labels annotated at the place"),
)
HIDDEN_COLUMNS = (
    Column("label", "Label"),
    Column("n_hidden", "Hidden", "records of test and vault whose annotation was hidden"),
    Column("n_listed", "Listed", "records that the queue lists then"),
    Column("n_found", "Found", "listed records, at a hidden annotation"),
    Column("recall", "Recall", "found, of hidden"),
    Column("false_share", "False share", "an upper bound: what nobody annotated counts as false"),
    Column("false_share_hidden", "where hidden", "the same, in records with hidden annotations"),
)
