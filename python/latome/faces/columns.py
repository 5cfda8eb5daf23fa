"""Names of columns where this interface and the engine differ."""

__all__ = ["like_scvi_tools"]

#: the engine's column of a differential expression table -> that of the interface
NAMES = {
    "prob_de": "proba_de", "prob_not_de": "proba_not_de", "prob_m1": "proba_m1", "prob_m2": "proba_m2",
    "lfc_sd": "lfc_std", "mean_1": "raw_mean1", "mean_2": "raw_mean2", "pct_1": "non_zeros_proportion1",
    "pct_2": "non_zeros_proportion2", "norm_mean_1": "raw_normalized_mean1", "norm_mean_2": "raw_normalized_mean2",
}
ORDER = {
    "change": ["proba_de", "proba_not_de", "bayes_factor", "scale1", "scale2", "pseudocounts", "delta", "lfc_mean",
               "lfc_median", "lfc_std", "lfc_min", "lfc_max"],
    "vanilla": ["proba_m1", "proba_m2", "bayes_factor", "scale1", "scale2"],
}
STATISTICS = ["raw_mean1", "raw_mean2", "non_zeros_proportion1", "non_zeros_proportion2", "raw_normalized_mean1",
              "raw_normalized_mean2"]


def like_scvi_tools(table, *, mode, fdr_target, by_group, levels=()):
    """The engine's table under the names of the interface: genes as the index, and its own columns alone.

    `levels` are those of the credible intervals that were asked for.
    """
    ends = {}
    for i, level in enumerate(levels):
        of_level = "" if i == 0 else f"_{level}"
        ends |= {f"lfc_low{of_level}": f"lfc_confidence_interval_{level}_min",
                 f"lfc_high{of_level}": f"lfc_confidence_interval_{level}_max"}
    table = table.rename(columns=NAMES | ends).set_index("gene")
    table.index.name = None
    intervals = list(ends.values())
    kept = ORDER[mode] + intervals + STATISTICS
    if mode == "change":
        table[f"is_de_fdr_{fdr_target}"] = table["is_de"]
        kept.append(f"is_de_fdr_{fdr_target}")
    kept += ["comparison"] + (["group1", "group2"] if by_group else [])
    return table[[name for name in kept if name in table]]
